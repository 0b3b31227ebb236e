//! Memory that a request needs, known before anything is allocated.

/// The shape of the KV cache of one batch row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvShape {
    pub layers: usize,
    pub heads: usize,
    pub positions: usize,
    pub head_width: usize,
    /// 16-bit floats instead of 32-bit ones.
    pub half: bool,
    /// Positions (of keys) and head dimensions (of values) are padded to multiples of this; 1 without padding.
    pub alignment: usize,
}

impl KvShape {
    /// Bytes of keys and values for `rows` rows; `u64::MAX` where they are more than a `u64` holds.
    pub fn bytes(&self, rows: usize) -> u64 {
        let padded =
            |length: usize| (length as u64).checked_next_multiple_of(self.alignment as u64).unwrap_or(u64::MAX);
        let keys = (self.head_width as u64).saturating_mul(padded(self.positions));
        let values = (self.positions as u64).saturating_mul(padded(self.head_width));
        let element = if self.half { 2 } else { 4 };
        [self.layers, self.heads, rows, element]
            .iter()
            .fold(keys.saturating_add(values), |bytes, &factor| bytes.saturating_mul(factor as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_shape_bytes_follow_element_and_alignment() {
        let shape = KvShape { layers: 24, heads: 16, positions: 128, head_width: 64, half: false, alignment: 1 };
        assert_eq!(shape.bytes(1), 24 * 1024 * 128 * 4 * 2);
        assert_eq!(shape.bytes(usize::MAX), u64::MAX);
        assert_eq!(KvShape { alignment: 16, ..shape }.bytes(2), shape.bytes(2), "nothing to pad");
        let padded = KvShape { layers: 2, heads: 3, positions: 37, head_width: 5, half: false, alignment: 16 };
        assert_eq!(padded.bytes(1), 2 * 3 * (5 * 48 + 37 * 16) * 4);
        assert_eq!(KvShape { half: true, ..shape }.bytes(3), shape.bytes(3) / 2);
    }
}
