//! CRC-32 as in zip files (ISO-HDLC): reflected polynomial 0x04C11DB7, eight bytes at a time.

/// 0x04C11DB7, least significant bit first.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// `TABLES[n][b]`: what byte `b` becomes after `n` further zero bytes.
const TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 != 0 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
};

/// A running CRC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crc32(u32);

impl Crc32 {
    /// The CRC of nothing.
    pub fn new() -> Self {
        Self(!0)
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let table = |table: usize, value: u32| TABLES[table][(value & 0xFF) as usize];
        let (blocks, rest) = bytes.as_chunks::<8>();
        for &[a, b, c, d, e, f, g, h] in blocks {
            let low = self.0 ^ u32::from_le_bytes([a, b, c, d]);
            let high = u32::from_le_bytes([e, f, g, h]);
            self.0 = table(7, low)
                ^ table(6, low >> 8)
                ^ table(5, low >> 16)
                ^ table(4, low >> 24)
                ^ table(3, high)
                ^ table(2, high >> 8)
                ^ table(1, high >> 16)
                ^ table(0, high >> 24);
        }
        for &byte in rest {
            self.0 = (self.0 >> 8) ^ table(0, self.0 ^ u32::from(byte));
        }
    }

    /// The CRC of everything so far.
    pub fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_matches_the_check_value_of_the_catalogue() {
        let of = |parts: &[&[u8]]| {
            let mut crc = Crc32::new();
            parts.iter().for_each(|part| crc.update(part));
            crc.value()
        };
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[b"123456789"]), 0xCBF4_3926);
        assert_eq!(of(&[b"1", b"23", b"456789"]), 0xCBF4_3926);
        let long: Vec<u8> = (0..1000u32).map(|byte| (byte * 7) as u8).collect();
        assert_eq!(of(&[&long]), of(&[&long[..333], &long[333..]]));
    }
}
