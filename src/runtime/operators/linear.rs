//! The operator `Linear`.

use std::sync::{Arc, Mutex};

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType;

use super::io::{Constant, OperatorCall, flag, refuse, size};
use super::pool::{SessionPool, guarded};
use crate::kernels::Isa;
use crate::kernels::linear::{Compensation, Linear, PackedWeights, Prologue, Workspace};
use crate::kernels::memory::prefault;
use crate::support::parallel::Threads;
use crate::support::sync::lock;

pub(super) struct LinearOperator {
    pub threads: Threads,
    /// Shared by all layers of the graph, which run one after the other, so that it stays in the CPU caches.
    pub work: Arc<Mutex<Workspace>>,
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
        guarded(|| self.make(context))
    }
}

impl LinearOperator {
    fn make<'a>(&self, context: &KernelContext<'a>) -> ort::Result<LinearKernel<'a>> {
        let before: String = context.get("before").unwrap_or_default();
        let kind = match before.as_str() {
            "plain" => Kind::Plain,
            "rms_norm" => Kind::RmsNorm,
            "layer_norm" => Kind::LayerNorm,
            "swiglu" => Kind::SwiGlu,
            "gelu" => Kind::Gelu,
            other => return Err(refuse(format!("Linear: attribute \"before\" is unknown: \"{other}\""))),
        };
        let weights = Constant::<i8>::new(context, 1, "weights")?;
        let scales = Constant::new(context, 2, "scales")?;
        let gain = Constant::optional(context, 3, matches!(kind, Kind::RmsNorm | Kind::LayerNorm), "gain")?;
        let shift = Constant::optional(context, 4, kind == Kind::LayerNorm, "shift")?;
        let bias = Constant::optional(context, 5, flag(context, "has_bias")?, "bias")?;
        let (inputs, outputs) = (size(context, "in_width")?, size(context, "out_width")?);
        let epsilon = match (&kind, context.get("epsilon")) {
            (_, Some(epsilon)) => epsilon,
            (Kind::RmsNorm | Kind::LayerNorm, None) => return Err(refuse("attribute \"epsilon\" is missing")),
            (_, None) => 0.0,
        };
        let part = |part: &Option<Constant<'a, f32>>| part.as_ref().map_or(&[][..], Constant::get);
        let layer = PackedWeights::new(weights.get(), inputs, outputs).map(|weights| Linear {
            prologue: match kind {
                Kind::Plain => Prologue::Plain,
                Kind::RmsNorm => Prologue::RmsNorm { gain: part(&gain), epsilon },
                Kind::LayerNorm => Prologue::LayerNorm { gain: part(&gain), shift: part(&shift), epsilon },
                Kind::SwiGlu => Prologue::SwiGlu,
                Kind::Gelu => Prologue::Gelu,
            },
            inputs,
            outputs,
            weights,
            scales: scales.get(),
            bias: bias.as_ref().map(Constant::get),
        });
        let layer = layer.filter(Linear::check);
        let layer = layer.ok_or_else(|| refuse(format!("the constants of a layer {inputs} x {outputs} do not fit")))?;
        prefault(weights.get());
        let constants = (weights, [Some(scales), gain, shift, bias]);
        let (threads, work, offsets) = (self.threads.clone(), self.work.clone(), Compensation::default());
        Ok(LinearKernel { layer, added: flag(context, "has_added")?, threads, work, offsets, _constants: constants })
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

pub(super) struct LinearKernel<'a> {
    layer: Linear<'a>,
    added: bool,
    threads: Threads,
    work: Arc<Mutex<Workspace>>,
    offsets: Compensation,
    /// The layer borrows from these.
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
        let call = OperatorCall::new(context);
        let x = call.input::<f32>(0)?;
        let wide = layer.prologue.input_width(layer.inputs);
        if !x.len().is_multiple_of(wide) {
            return Err(refuse(format!("a layer of {wide} inputs is given {} numbers", x.len())));
        }
        let rows = x.len() / wide;
        let added = if self.added { Some(call.input::<f32>(6)?) } else { None };
        if added.is_some_and(|added| added.len() != rows * layer.outputs) {
            return Err(refuse("Linear: the input \"added\" has another shape than the output"));
        }
        let out = call.output([rows, layer.outputs])?;
        let pool = SessionPool { context, threads: &self.threads };
        let memory = (&mut *lock(&self.work), &mut self.offsets);
        layer.run(Isa::best(), &pool, memory, x, added, out).map_err(refuse)
    }
}
