//! Puts the CRCs of a `.dft` right (onnx/TOKENS.md), which mutations break, so that what is behind them is reached.

const HEADER: usize = 32;

/// CRC-16/IBM-SDLC of these bytes after others.
fn crc(start: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(start, |mut crc, &byte| {
        crc ^= u16::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0x8408 } else { crc >> 1 };
        }
        crc
    })
}

/// Puts right the CRCs of the header and of all groups that are there, as the header describes them.
pub fn mend(bytes: &mut [u8]) {
    if bytes.len() < HEADER {
        return;
    }
    let mut check = crc(0xFFFF, &bytes[..HEADER - 2]);
    bytes[HEADER - 2..HEADER].copy_from_slice(&(!check).to_le_bytes());
    let (group, bits) = (usize::from(bytes[26]), usize::from(bytes[27] & 31));
    let (mut left, mut at) = (usize::from(u16::from_le_bytes([bytes[24], bytes[25]])), HEADER);
    while left > 0 && group > 0 {
        let count = group.min(left);
        let end = at + (count * bits).div_ceil(8);
        if bytes.len() < end + 2 {
            return;
        }
        check = crc(check, &bytes[at..end]);
        bytes[end..end + 2].copy_from_slice(&(!check).to_le_bytes());
        (left, at) = (left - count, end + 2);
    }
}
