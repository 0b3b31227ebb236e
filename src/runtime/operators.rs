//! Our own operators, domain `detailflow`, for the CPU: `Linear` and `Attention` (`onnx/README.md` says what they compute).
//! This is the boundary: what a graph says is checked here, once, when it is compiled; the arithmetic is
//! [`kernels`](crate::kernels).
//!
//! A graph comes from a stranger. An operator whose constants do not fit each other does not compile; inputs that do not
//! fit at a run are an error of that run.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::TensorElementType;

use super::lent::{Call, Constant};
use super::sys;
use crate::error::Error;
use crate::kernels::attention::{Attention, Token};
use crate::kernels::keys::{KeyLayout, Seats};
use crate::kernels::linear::{Before, Linear, Offsets, Packed, Work};
use crate::kernels::{Isa, Pool};
use crate::sync::lock;

const DOMAIN: &str = "detailflow";

/// The operators for one graph. `seats` is where its attention finds the rows of a call; `threads` as the session has.
pub(super) fn domain(seats: Seats, threads: usize) -> ort::Result<Arc<OperatorDomain>> {
    let linear = LinearOperator { threads, work: Arc::default() };
    let attention = AttentionOperator { seats, threads };
    OperatorDomain::new(DOMAIN)?.add(linear)?.add(attention).map(Arc::new)
}

/// The threads of the session that runs the operator.
struct SessionPool<'a> {
    context: &'a ComputeContext,
    threads: usize,
}

impl Pool for SessionPool<'_> {
    fn each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.threads == 1 {
            return (0..count).for_each(task);
        }
        // A panic must not leave a task: ONNX Runtime's threads cannot unwind. It goes on from here.
        let panicked = Mutex::new(None);
        let guarded = |number: usize| {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(number))) {
                lock(&panicked).get_or_insert(panic);
            }
        };
        // Each task is handed out by itself, to whoever is free.
        if self.context.par_for(count, count, guarded).is_err() {
            // It fails before any task has begun, if at all.
            (0..count).for_each(guarded);
        }
        if let Some(panic) = panicked.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }

    fn threads(&self) -> usize {
        self.threads
    }
}

/// What an operator does in a call. A bug of ours must not take the host down: a panic is an error of the run.
fn guarded(body: impl FnOnce() -> ort::Result<()>) -> ort::Result<()> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(refuse(Error::from_panic(&*panic))))
}

fn refuse(what: impl std::fmt::Display) -> ort::Error {
    ort::Error::new(what.to_string())
}

fn size(context: &KernelContext<'_>, name: &str) -> ort::Result<usize> {
    let value: Option<i64> = context.get(name);
    value
        .and_then(|value| usize::try_from(value).ok())
        .filter(|&value| value > 0)
        .ok_or_else(|| refuse(format!("the attribute {name} is not a positive number")))
}

struct LinearOperator {
    threads: usize,
    /// Of all layers of the graph, which run one after the other: so it stays in the caches.
    work: Arc<Mutex<Work>>,
}

impl Operator for LinearOperator {
    type Kernel<'a> = LinearKernel<'a>;

    fn name(&self) -> &str {
        "Linear"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        use TensorElementType::{Float32, Int8};
        [
            OperatorInput::required(Float32), // x
            OperatorInput::required(Int8),    // weights
            OperatorInput::required(Float32), // scales
            OperatorInput::optional(Float32), // gain
            OperatorInput::optional(Float32), // shift
            OperatorInput::optional(Float32), // bias
            OperatorInput::optional(Float32), // added
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'a>(&self, context: &KernelContext<'a>) -> ort::Result<LinearKernel<'a>> {
        let before: String = context.get("before").unwrap_or_default();
        let flag = |name: &str| context.get::<i64>(name) == Some(1);
        let kind = match before.as_str() {
            "plain" => Kind::Plain,
            "rms_norm" => Kind::RmsNorm,
            "layer_norm" => Kind::LayerNorm,
            "swiglu" => Kind::SwiGlu,
            "gelu" => Kind::Gelu,
            other => return Err(refuse(format!("the attribute before is \"{other}\""))),
        };
        let weights = Constant::<i8>::new(context, 1, "weights")?;
        let scales = Constant::new(context, 2, "scales")?;
        let gain = Constant::optional(context, 3, matches!(kind, Kind::RmsNorm | Kind::LayerNorm), "gain")?;
        let shift = Constant::optional(context, 4, kind == Kind::LayerNorm, "shift")?;
        let bias = Constant::optional(context, 5, flag("has_bias"), "bias")?;
        let (inputs, outputs) = (size(context, "in_width")?, size(context, "out_width")?);
        let epsilon = context.get("epsilon").unwrap_or_default();
        let part = |part: &Option<Constant<'a, f32>>| part.as_ref().map_or(&[][..], Constant::get);
        let layer = Packed::new(weights.get(), inputs, outputs).map(|weights| Linear {
            before: match kind {
                Kind::Plain => Before::Plain,
                Kind::RmsNorm => Before::RmsNorm { gain: part(&gain), epsilon },
                Kind::LayerNorm => Before::LayerNorm { gain: part(&gain), shift: part(&shift), epsilon },
                Kind::SwiGlu => Before::SwiGlu,
                Kind::Gelu => Before::Gelu,
            },
            inputs,
            outputs,
            weights,
            scales: scales.get(),
            bias: bias.as_ref().map(Constant::get),
        });
        let layer = layer.filter(Linear::check);
        let layer = layer.ok_or_else(|| refuse(format!("the constants of a layer {inputs} x {outputs} do not fit")))?;
        let constants = (weights, [Some(scales), gain, shift, bias]);
        let (threads, work, offsets) = (self.threads, self.work.clone(), Offsets::default());
        Ok(LinearKernel { layer, added: flag("has_added"), threads, work, offsets, _constants: constants })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    RmsNorm,
    LayerNorm,
    SwiGlu,
    Gelu,
}

struct LinearKernel<'a> {
    layer: Linear<'a>,
    added: bool,
    threads: usize,
    work: Arc<Mutex<Work>>,
    offsets: Offsets,
    /// What the layer refers to.
    _constants: (Constant<'a, i8>, [Option<Constant<'a, f32>>; 4]),
}

impl Kernel for LinearKernel<'_> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guarded(|| self.run(context))
    }
}

impl LinearKernel<'_> {
    fn run(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let layer = self.layer;
        let call = Call::new(context);
        let x = call.input::<f32>(0)?;
        let wide = layer.before.takes(layer.inputs);
        if !x.len().is_multiple_of(wide) {
            return Err(refuse(format!("a layer of {wide} inputs is given {} numbers", x.len())));
        }
        let rows = x.len() / wide;
        let added = if self.added { Some(call.input::<f32>(6)?) } else { None };
        if added.is_some_and(|added| added.len() != rows * layer.outputs) {
            return Err(refuse("what is added to a layer has another shape"));
        }
        let out = call.output([rows, layer.outputs])?;
        let pool = SessionPool { context, threads: self.threads };
        let memory = (&mut *lock(&self.work), &mut self.offsets);
        layer.run(Isa::here(), &pool, memory, x, added, out).map_err(refuse)
    }
}

struct AttentionOperator {
    seats: Seats,
    threads: usize,
}

impl Operator for AttentionOperator {
    type Kernel<'a> = AttentionKernel<'a>;

    fn name(&self) -> &str {
        "Attention"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        use TensorElementType::{Float32, Int64};
        [
            OperatorInput::required(Float32), // qkv
            OperatorInput::required(Int64),   // at
            OperatorInput::required(Float32), // cos
            OperatorInput::required(Float32), // sin
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'a>(&self, context: &KernelContext<'a>) -> ort::Result<AttentionKernel<'a>> {
        let keys = KeyLayout {
            layers: size(context, "layers")?,
            heads: size(context, "kv_heads")?,
            width: size(context, "head_width")?,
            positions: size(context, "positions")?,
        };
        if self.seats.layout() != Some(keys) {
            let wanted = self.seats.layout().map_or("nothing".to_owned(), |wanted| wanted.to_string());
            return Err(refuse(format!("the graph keeps keys of {keys}, it should be {wanted}")));
        }
        let layer: i64 = context.get("layer").unwrap_or(-1);
        Ok(AttentionKernel {
            layer: usize::try_from(layer).map_err(|_| refuse("the attribute layer is not a number of at least 0"))?,
            heads: size(context, "heads")?,
            keys,
            cos: Constant::new(context, 2, "cos")?,
            sin: Constant::new(context, 3, "sin")?,
            seats: self.seats.clone(),
            threads: self.threads,
            tokens: Vec::new(),
        })
    }
}

struct AttentionKernel<'a> {
    layer: usize,
    heads: usize,
    keys: KeyLayout,
    cos: Constant<'a, f32>,
    sin: Constant<'a, f32>,
    seats: Seats,
    threads: usize,
    tokens: Vec<Token>,
}

impl Kernel for AttentionKernel<'_> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guarded(|| self.run(context))
    }
}

impl AttentionKernel<'_> {
    fn run(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let call = Call::new(context);
        let (qkv, at) = (call.input::<f32>(0)?, call.input::<i64>(1)?);
        self.tokens.clear();
        for at in at.as_chunks::<3>().0 {
            let [row, place, seen] = at.map(|x| usize::try_from(x).unwrap_or(usize::MAX));
            self.tokens.push(Token { row, place, seen });
        }
        let width = self.heads * self.keys.width;
        let out = call.output([self.tokens.len(), width])?;
        let attention = Attention {
            layer: self.layer,
            heads: self.heads,
            keys: self.keys,
            cos: self.cos.get(),
            sin: self.sin.get(),
        };
        let pool = SessionPool { context, threads: self.threads };
        self.seats.with(|rows| sys::attend(&attention, &pool, qkv, &self.tokens, rows, out)).map_err(refuse)
    }
}
