//! The operators `Linear` and `Linear4`, with int8 and int4 weights.

use std::sync::{Arc, Mutex};

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType;

use super::io::{Constant, OperatorCall, flag, refuse, size};
use super::matrices::Matrices;
use super::pool::{SessionPool, guarded};
use crate::kernels::Isa;
use crate::kernels::linear::{Compensation, Int4Weights, Linear, PackedWeights, Prologue, Weights, Workspace};
use crate::kernels::memory::prefault;
use crate::support::parallel::Threads;
use crate::support::sync::lock;

/// The type of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bits {
    Int8,
    /// With factors as another input.
    Int4,
}

pub(super) struct LinearOperator {
    pub bits: Bits,
    pub threads: Threads,
    /// Shared by all layers of the graph, which run one after the other, so that it stays in the CPU caches.
    pub work: Arc<Mutex<Workspace>>,
    /// Where the weights are listed for further sessions of the graph.
    pub matrices: Option<Matrices>,
}

impl Operator for LinearOperator {
    type Kernel<'a> = LinearKernel<'a>;

    fn name(&self) -> &str {
        match self.bits {
            Bits::Int8 => "Linear",
            Bits::Int4 => "Linear4",
        }
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        use TensorElementType::{Float32, Int8, Uint8};
        let weights = match self.bits {
            Bits::Int8 => vec![OperatorInput::required(Int8)],
            Bits::Int4 => vec![OperatorInput::required(Uint8), OperatorInput::required(Int8)], // nibbles, factors
        };
        let rest = [
            OperatorInput::required(Float32), // scales
            OperatorInput::optional(Float32), // gain
            OperatorInput::optional(Float32), // shift
            OperatorInput::optional(Float32), // bias
            OperatorInput::optional(Float32), // added
        ];
        std::iter::once(OperatorInput::required(Float32)).chain(weights).chain(rest) // x first
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
        let constants = match self.bits {
            Bits::Int8 => ConstantWeights::Int8(Constant::new(context, 1, "weights")?),
            Bits::Int4 => {
                ConstantWeights::Int4(Constant::new(context, 1, "weights")?, Constant::new(context, 2, "factors")?)
            }
        };
        let first = self.bits.scales();
        let scales = Constant::new(context, first, "scales")?;
        let gain = Constant::optional(context, first + 1, matches!(kind, Kind::RmsNorm | Kind::LayerNorm), "gain")?;
        let shift = Constant::optional(context, first + 2, kind == Kind::LayerNorm, "shift")?;
        let bias = Constant::optional(context, first + 3, flag(context, "has_bias")?, "bias")?;
        let (inputs, outputs) = (size(context, "in_width")?, size(context, "out_width")?);
        let epsilon = match (&kind, context.get("epsilon")) {
            (_, Some(epsilon)) => epsilon,
            (Kind::RmsNorm | Kind::LayerNorm, None) => return Err(refuse("attribute \"epsilon\" is missing")),
            (_, None) => 0.0,
        };
        let part = |part: &Option<Constant<'a, f32>>| part.as_ref().map_or(&[][..], Constant::get);
        constants.prefault();
        if let Some(matrices) = &self.matrices {
            constants.list(context, matrices)?;
        }
        let layer = constants.of(inputs, outputs).map(|weights| Linear {
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
        let constants = (constants, [Some(scales), gain, shift, bias]);
        let (threads, work, offsets) = (self.threads.clone(), self.work.clone(), Compensation::default());
        let added = flag(context, "has_added")?.then_some(first + 4);
        Ok(LinearKernel { layer, added, threads, work, offsets, _constants: constants })
    }
}

impl Bits {
    /// The input that holds the scales. Those after it are the same for all.
    fn scales(self) -> usize {
        match self {
            Self::Int8 => 2,
            Self::Int4 => 3,
        }
    }
}

/// The weights of a graph.
enum ConstantWeights<'a> {
    Int8(Constant<'a, i8>),
    /// Nibbles and factors.
    Int4(Constant<'a, u8>, Constant<'a, i8>),
}

impl<'a> ConstantWeights<'a> {
    /// None when they do not fit.
    fn of(&self, inputs: usize, outputs: usize) -> Option<Weights<'a>> {
        match self {
            Self::Int8(weights) => PackedWeights::new(weights.get(), inputs, outputs).map(Weights::Int8),
            Self::Int4(nibbles, factors) => {
                Int4Weights::new(nibbles.get(), factors.get(), inputs, outputs).map(Weights::Int4)
            }
        }
    }

    fn list(&self, context: &KernelContext<'a>, matrices: &Matrices) -> ort::Result<()> {
        match self {
            Self::Int8(weights) => matrices.add(context, 1, weights),
            Self::Int4(nibbles, factors) => {
                matrices.add(context, 1, nibbles)?;
                matrices.add(context, 2, factors)
            }
        }
    }

    fn prefault(&self) {
        match self {
            Self::Int8(weights) => prefault(weights.get()),
            Self::Int4(nibbles, factors) => {
                prefault(nibbles.get());
                prefault(factors.get());
            }
        }
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
    /// The input that is added.
    added: Option<usize>,
    threads: Threads,
    work: Arc<Mutex<Workspace>>,
    offsets: Compensation,
    /// The layer borrows from these.
    _constants: (ConstantWeights<'a>, [Option<Constant<'a, f32>>; 4]),
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
        let added = self.added.map(|index| call.input::<f32>(index)).transpose()?;
        if added.is_some_and(|added| added.len() != rows * layer.outputs) {
            return Err(refuse("Linear: the input \"added\" has another shape than the output"));
        }
        let out = call.output([rows, layer.outputs])?;
        let pool = SessionPool { context, threads: &self.threads };
        let memory = (&mut *lock(&self.work), &mut self.offsets);
        layer.run(Isa::best(), &pool, memory, x, added, out).map_err(refuse)
    }
}
