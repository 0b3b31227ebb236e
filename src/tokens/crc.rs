//! CRC-16/IBM-SDLC, as in HDLC and PPP (RFC 1662): reflected polynomial 0x1021, initial value 0xFFFF, inverted at the
//! end, stored little-endian. It detects every burst of up to 16 bits, its own bits included (so every flipped bit and
//! every changed byte), and every 2 or 3 flipped bits within 4 kilobytes.

/// 0x1021, least significant bit first.
const POLYNOMIAL: u16 = 0x8408;

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u16;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 != 0 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// A running CRC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc16(u16);

impl Crc16 {
    /// The CRC of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(0xFFFF).and(bytes)
    }

    /// The CRC of everything so far followed by these bytes.
    pub fn and(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]))
    }

    /// As it is stored.
    pub fn bytes(self) -> [u8; 2] {
        (!self.0).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_matches_the_check_value_of_the_catalogue() {
        assert_eq!(Crc16::of(b"123456789").bytes(), 0x906E_u16.to_le_bytes());
        assert_eq!(Crc16::of(b"1234").and(b"").and(b"56789").bytes(), [0x6E, 0x90]);
        assert_eq!(Crc16::of(b"").bytes(), [0, 0]);
    }

    #[test]
    fn crc_detects_every_burst_of_16_bits() {
        let codes = *b"fourteen codes";
        let whole = |word: u128| {
            let bytes = word.to_le_bytes();
            Crc16::of(&bytes[..14]).bytes() == bytes[14..]
        };
        let mut bytes = [0; 16];
        bytes[..14].copy_from_slice(&codes);
        bytes[14..].copy_from_slice(&Crc16::of(&codes).bytes());
        let word = u128::from_le_bytes(bytes);
        assert!(whole(word));
        for first in 0..=112 {
            for burst in (1..=u16::MAX).step_by(2) {
                assert!(!whole(word ^ u128::from(burst) << first), "burst {burst:#x} at bit {first}");
            }
        }
    }
}
