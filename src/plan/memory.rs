//! What a request needs in memory, known before anything is allocated.

use crate::kernels::kv::KvLayout;

/// The shape of one layer's kept keys (and of its values) for one row of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvShape {
    pub layers: usize,
    pub heads: usize,
    pub positions: usize,
    pub head_width: usize,
    /// 16-bit floats instead of 32-bit ones.
    pub half: bool,
    /// Kept by our own operators, which fill vectors up.
    pub own: bool,
}

impl KvShape {
    /// The same, as our own operators keep it.
    pub fn layout(&self) -> KvLayout {
        KvLayout { layers: self.layers, heads: self.heads, width: self.head_width, positions: self.positions }
    }

    /// Bytes of keys and values for `rows` rows, saturating: a number too large to hold is too large to have.
    pub fn bytes(&self, rows: usize) -> u64 {
        if self.own {
            return self.layout().bytes().saturating_mul(rows as u64);
        }
        [self.layers, self.heads, self.positions, self.head_width, rows]
            .iter()
            .fold(2 * if self.half { 2 } else { 4 }, |bytes, &factor| bytes.saturating_mul(factor as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpt_l_keeps_25_megabytes_a_row() {
        let shape = KvShape { layers: 24, heads: 16, positions: 128, head_width: 64, half: false, own: false };
        assert_eq!(shape.bytes(1), 24 * 1024 * 128 * 4 * 2);
        assert_eq!(shape.bytes(usize::MAX), u64::MAX);
        assert_eq!(KvShape { own: true, ..shape }.bytes(2), shape.bytes(2), "nothing to fill up");
        assert_eq!(KvShape { half: true, ..shape }.bytes(3), shape.bytes(3) / 2);
    }
}
