//! LEB128 integers: seven bits a byte, low bits first, as protobuf has them.

/// Longest encoding of a `u64`, in bytes.
pub const VARINT_BYTES_MAX: usize = 10;

/// Writes `value` at `out[at..]`; returns where the next byte goes.
pub fn put_varint(out: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        out[at] = value.to_le_bytes()[0] | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value.to_le_bytes()[0];
    at + 1
}

/// Length of `value` as a varint, in bytes: 1 to [`VARINT_BYTES_MAX`].
#[must_use]
pub const fn varint_len(value: u64) -> usize {
    // Seven bits a byte: ceil(bits / 7), where 0 still takes a byte.
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends `value` to `out`.
pub fn push_varint(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let end = put_varint(&mut bytes, 0, value);
    out.extend_from_slice(&bytes[..end]);
}

/// Reads a varint at the front of `bytes`; returns it and the rest, or `None` when `bytes` ends
/// inside it or it does not fit 64 bits.
#[must_use]
pub fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(VARINT_BYTES_MAX) {
        let bits = u64::from(byte & 0x7F);
        if index == VARINT_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_survives_a_round_trip_and_every_cut_is_refused() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift).wrapping_sub(1), u64::MAX >> shift] {
                let mut out = [0; VARINT_BYTES_MAX];
                let end = put_varint(&mut out, 0, value);
                assert_eq!(take_varint(&out[..end]), Some((value, &[][..])));
                assert_eq!(varint_len(value), end, "{value}");
                let mut pushed = vec![7];
                push_varint(&mut pushed, value);
                assert_eq!(pushed[1..], out[..end]);
                for cut in 0..end {
                    assert_eq!(take_varint(&out[..cut]), None, "{value} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        assert_eq!(take_varint(&[0xFF; 11]), None);
        assert_eq!(take_varint(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2]), None);
    }
}
