//! Our own operators, domain `detailflow`, for the CPU: `Linear` and `Attention` (`onnx/README.md` says what they compute).
//! This is the boundary: what a graph says is checked here, once, when it is compiled; the arithmetic is
//! [`kernels`](crate::kernels).
//!
//! A graph comes from a stranger. An operator whose constants do not fit each other does not compile; inputs that do not
//! fit at a run are an error of that run.

use std::sync::Arc;

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::{PrimitiveTensorElementType, TensorElementType, TensorValueType, ValueRef};

use super::sys;
use crate::kernels::attention::{Attention, Token};
use crate::kernels::keys::{KeyLayout, Seats};
use crate::kernels::linear::{Before, Linear, Packed, Work};
use crate::kernels::{Isa, Pool};

const DOMAIN: &str = "detailflow";

/// The operators for one graph. `seats` is where its attention finds the rows of a call; `threads` as the session has.
pub(super) fn domain(seats: Seats, threads: usize) -> ort::Result<Arc<OperatorDomain>> {
    let linear = LinearOperator { threads };
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
        // Each task is handed out by itself, to whoever is free.
        if self.threads == 1 || self.context.par_for(count, count, task).is_err() {
            // It fails before any task has begun, if at all.
            (0..count).for_each(task);
        }
    }

    fn threads(&self) -> usize {
        self.threads
    }
}

fn refuse(what: impl std::fmt::Display) -> ort::Error {
    ort::Error::new(what.to_string())
}

/// A constant tensor of the graph. It lives as long as the session, and its kernels.
struct Constant<'a, T: PrimitiveTensorElementType + std::fmt::Debug + 'static> {
    value: ValueRef<'a, TensorValueType<T>>,
}

impl<'a, T: PrimitiveTensorElementType + std::fmt::Debug + 'static> Constant<'a, T> {
    fn new(context: &KernelContext<'a>, index: usize, what: &str) -> ort::Result<Self> {
        let value = context.constant_input(index).map_err(|error| refuse(format!("{what}: {}", error.message())))?;
        Ok(Self { value })
    }

    /// None when the operator has no such input.
    fn optional(context: &KernelContext<'a>, index: usize, wanted: bool, what: &str) -> ort::Result<Option<Self>> {
        if wanted { Self::new(context, index, what).map(Some) } else { Ok(None) }
    }

    fn get(&self) -> &[T] {
        self.value.extract_tensor().1
    }
}

fn size(context: &KernelContext<'_>, name: &str) -> ort::Result<usize> {
    let value: Option<i64> = context.get(name);
    value
        .and_then(|value| usize::try_from(value).ok())
        .filter(|&value| value > 0)
        .ok_or_else(|| refuse(format!("the attribute {name} is not a positive number")))
}

/// An input of a run.
fn input(context: &ComputeContext, index: usize) -> ort::Result<ValueRef<'_>> {
    context.input(index)?.ok_or_else(|| refuse(format!("input {index} is missing")))
}

struct LinearOperator {
    threads: usize,
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
        let kernel = LinearKernel {
            kind,
            epsilon: context.get("epsilon").unwrap_or_default(),
            inputs: size(context, "in_width")?,
            outputs: size(context, "out_width")?,
            weights: Constant::new(context, 1, "weights")?,
            scales: Constant::new(context, 2, "scales")?,
            gain: Constant::optional(context, 3, matches!(kind, Kind::RmsNorm | Kind::LayerNorm), "gain")?,
            shift: Constant::optional(context, 4, kind == Kind::LayerNorm, "shift")?,
            bias: Constant::optional(context, 5, flag("has_bias"), "bias")?,
            added: flag("has_added"),
            threads: self.threads,
            work: Work::default(),
        };
        kernel.layer()?;
        Ok(kernel)
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
    kind: Kind,
    epsilon: f32,
    inputs: usize,
    outputs: usize,
    weights: Constant<'a, i8>,
    scales: Constant<'a, f32>,
    gain: Option<Constant<'a, f32>>,
    shift: Option<Constant<'a, f32>>,
    bias: Option<Constant<'a, f32>>,
    added: bool,
    threads: usize,
    work: Work,
}

impl LinearKernel<'_> {
    fn layer(&self) -> ort::Result<Linear<'_>> {
        let (inputs, outputs, epsilon) = (self.inputs, self.outputs, self.epsilon);
        let gain = self.gain.as_ref().map_or(&[][..], Constant::get);
        let shift = self.shift.as_ref().map_or(&[][..], Constant::get);
        let before = match self.kind {
            Kind::Plain => Before::Plain,
            Kind::RmsNorm => Before::RmsNorm { gain, epsilon },
            Kind::LayerNorm => Before::LayerNorm { gain, shift, epsilon },
            Kind::SwiGlu => Before::SwiGlu,
            Kind::Gelu => Before::Gelu,
        };
        let weights = Packed::new(self.weights.get(), inputs, outputs);
        let layer = weights.map(|weights| Linear {
            before,
            inputs,
            outputs,
            weights,
            scales: self.scales.get(),
            bias: self.bias.as_ref().map(Constant::get),
        });
        layer
            .filter(Linear::check)
            .ok_or_else(|| refuse(format!("the constants of a layer {inputs} x {outputs} do not fit")))
    }
}

impl Kernel for LinearKernel<'_> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let mut work = std::mem::take(&mut self.work);
        let layer = self.layer()?;
        let x = input(context, 0)?;
        let (shape, x) = x.try_extract_tensor::<f32>()?;
        let wide = layer.before.takes(self.inputs);
        let width = shape.last().copied().unwrap_or(0);
        if width != wide as i64 {
            return Err(refuse(format!("a layer of {wide} inputs is given rows of {width}")));
        }
        let rows = x.len() / wide;
        let added = if self.added { Some(input(context, 6)?) } else { None };
        let added = added.as_ref().map(|added| added.try_extract_tensor::<f32>()).transpose()?.map(|(_, added)| added);
        if added.is_some_and(|added| added.len() != rows * self.outputs) {
            return Err(refuse("what is added to a layer has another shape"));
        }
        let mut output =
            context.output(0, [rows as i64, self.outputs as i64])?.ok_or_else(|| refuse("there is no output"))?;
        let (_, out) = output.try_extract_tensor_mut::<f32>()?;
        let pool = SessionPool { context, threads: self.threads };
        let run = layer.run(Isa::here(), &pool, &mut work, x, added, out);
        self.work = work;
        run.map_err(refuse)
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
        let (qkv, at) = (input(context, 0)?, input(context, 1)?);
        let (_, qkv) = qkv.try_extract_tensor::<f32>()?;
        let (_, at) = at.try_extract_tensor::<i64>()?;
        self.tokens.clear();
        for at in at.as_chunks::<3>().0 {
            let [row, place, seen] = at.map(|x| usize::try_from(x).unwrap_or(usize::MAX));
            self.tokens.push(Token { row, place, seen });
        }
        let width = self.heads * self.keys.width;
        let mut output =
            context.output(0, [self.tokens.len() as i64, width as i64])?.ok_or_else(|| refuse("there is no output"))?;
        let (_, out) = output.try_extract_tensor_mut::<f32>()?;
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
