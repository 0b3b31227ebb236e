//! Memory that is used where it is, by its address: ours, shared, or the host's.

use std::sync::Arc;

/// Owns bytes that stay where they are, unchanged, as long as it lives: [`bytes`](Self::bytes) gives the same each time.
/// Private to the crate, because code that takes the address depends on it.
pub(crate) trait Fixed: Send + Sync {
    fn bytes(&self) -> &[u8];
}

/// Fixed bytes with any number of owners.
pub(crate) type Block = Arc<dyn Fixed>;

impl Fixed for Arc<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Fixed for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// A part of a block.
#[derive(Clone)]
pub(crate) struct BlockPart {
    block: Block,
    start: usize,
    length: usize,
}

impl BlockPart {
    /// All of `block`.
    pub fn whole(block: Block) -> Self {
        let length = block.bytes().len();
        Self { block, start: 0, length }
    }

    /// The bytes `range` of `block`; `None` if it has fewer.
    pub fn of(block: Block, range: std::ops::Range<usize>) -> Option<Self> {
        let length = block.bytes().get(range.clone())?.len();
        Some(Self { block, start: range.start, length })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.block.bytes()[self.start..][..self.length]
    }
}

impl std::fmt::Debug for BlockPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.length)
    }
}
