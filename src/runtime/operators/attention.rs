//! The operators `Attention`, over the KV cache, and `PlacesAttention`, full (bidirectional) attention within each picture.

use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType;

use super::io::{Constant, OperatorCall, flag, refuse, size};
use super::pool::{SessionPool, guarded};
use crate::kernels::Isa;
use crate::kernels::attention::{Attention, FullAttention, QueryToken};
use crate::kernels::kv::{KvLayout, SlotTable};
use crate::support::parallel::Threads;

pub(super) struct AttentionOperator {
    pub slots: SlotTable,
    pub threads: Threads,
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
        guarded(|| self.make(context))
    }
}

impl AttentionOperator {
    fn make<'a>(&self, context: &KernelContext<'a>) -> ort::Result<AttentionKernel<'a>> {
        let keys = KvLayout {
            layers: size(context, "layers")?,
            kv_heads: size(context, "kv_heads")?,
            head_dim: size(context, "head_width")?,
            positions: size(context, "positions")?,
            // The manifest says so, not the graph.
            half: self.slots.layout().is_some_and(|layout| layout.half),
        };
        if self.slots.layout() != Some(keys) {
            let wanted = self.slots.layout().map_or("none".to_owned(), |wanted| wanted.to_string());
            return Err(refuse(format!("Attention: the graph has a KV cache of {keys}; expected {wanted}")));
        }
        let layer: i64 = context.get("layer").unwrap_or(-1);
        Ok(AttentionKernel {
            layer: usize::try_from(layer)
                .map_err(|_| refuse("attribute \"layer\" must be an integer of at least 0"))?,
            heads: size(context, "heads")?,
            keys,
            cos: Constant::new(context, 2, "cos")?,
            sin: Constant::new(context, 3, "sin")?,
            slots: self.slots.clone(),
            threads: self.threads.clone(),
            tokens: Vec::new(),
        })
    }
}

pub(super) struct AttentionKernel<'a> {
    layer: usize,
    heads: usize,
    keys: KvLayout,
    cos: Constant<'a, f32>,
    sin: Constant<'a, f32>,
    slots: SlotTable,
    threads: Threads,
    tokens: Vec<QueryToken>,
}

impl Kernel for AttentionKernel<'_> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guarded(|| self.run(context))
    }
}

impl AttentionKernel<'_> {
    fn run(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let call = OperatorCall::new(context);
        let (qkv, at) = (call.input::<f32>(0)?, call.input::<i64>(1)?);
        self.tokens.clear();
        for at in at.as_chunks::<3>().0 {
            let [row, position, visible] = at.map(|x| usize::try_from(x).unwrap_or(usize::MAX));
            self.tokens.push(QueryToken { row, position, visible });
        }
        let width = self.heads * self.keys.head_dim;
        let out = call.output([self.tokens.len(), width])?;
        let attention = Attention {
            layer: self.layer,
            heads: self.heads,
            layout: self.keys,
            cos: self.cos.get(),
            sin: self.sin.get(),
        };
        let pool = SessionPool { context, threads: &self.threads };
        attention.run(Isa::best(), &pool, qkv, &self.tokens, &mut self.slots.lock(), out).map_err(refuse)
    }
}

pub(super) struct PlacesAttentionOperator {
    pub threads: Threads,
}

impl Operator for PlacesAttentionOperator {
    type Kernel<'a> = PlacesAttentionKernel<'a>;

    fn name(&self) -> &str {
        "PlacesAttention"
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        use TensorElementType::{Float32, Int64};
        [
            OperatorInput::required(Float32), // qkv
            OperatorInput::required(Int64),   // pictures
            OperatorInput::optional(Int64),   // seen
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'a>(&self, context: &KernelContext<'a>) -> ort::Result<PlacesAttentionKernel<'a>> {
        guarded(|| self.make(context))
    }
}

impl PlacesAttentionOperator {
    fn make<'a>(&self, context: &KernelContext<'a>) -> ort::Result<PlacesAttentionKernel<'a>> {
        let (heads, width) = (size(context, "heads")?, size(context, "head_width")?);
        let seen = Constant::optional(context, 2, flag(context, "has_seen")?, "seen")?;
        Ok(PlacesAttentionKernel { heads, width, seen, threads: self.threads.clone() })
    }
}

pub(super) struct PlacesAttentionKernel<'a> {
    heads: usize,
    width: usize,
    seen: Option<Constant<'a, i64>>,
    threads: Threads,
}

impl Kernel for PlacesAttentionKernel<'_> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guarded(|| self.run(context))
    }
}

impl PlacesAttentionKernel<'_> {
    fn run(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let call = OperatorCall::new(context);
        let (qkv, pictures) = (call.input::<f32>(0)?, call.input::<i64>(1)?);
        let wide = self.heads.saturating_mul(self.width);
        let rows = qkv.len() / wide.saturating_mul(3).max(1);
        let &[pictures] = pictures else {
            return Err(refuse("PlacesAttention: the input \"pictures\" must hold one integer"));
        };
        let pictures = usize::try_from(pictures).ok().filter(|&pictures| pictures > 0 && rows.is_multiple_of(pictures));
        let pictures = pictures
            .ok_or_else(|| refuse(format!("PlacesAttention: {rows} positions cannot be divided among the pictures")))?;
        let layer = FullAttention {
            heads: self.heads,
            head_dim: self.width,
            positions: rows / pictures,
            visible: self.seen.as_ref().map(Constant::get),
        };
        let out = call.output([rows, wide])?;
        let pool = SessionPool { context, threads: &self.threads };
        layer.run(Isa::best(), &pool, qkv, out).map_err(refuse)
    }
}
