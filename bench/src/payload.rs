//! The content of a frame, by which a reader recognises the right one, whole.
//!
//! The first and the last 8 bytes carry the frame's number. A whole payload has a pattern between them that depends on
//! the number too; it is for tests, since making and comparing it takes longer than moving it.

use anyhow::{Result, ensure};

/// The shortest frame, in bytes.
pub(crate) const SHORTEST: usize = 16;

/// Writes the number of the frame into `payload`, and all its bytes if it is to be `whole`.
pub(crate) fn mark(payload: &mut [u8], number: u64, whole: bool) {
    if whole {
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte = pattern(index, number);
        }
    }
    let len = payload.len();
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload[len - 8..].copy_from_slice(&number.to_le_bytes());
}

/// Compares the received payload with the one that [`mark`] made.
///
/// # Errors
///
/// If it is another frame, or a byte differs.
pub(crate) fn check(payload: &[u8], number: u64, whole: bool) -> Result<()> {
    let len = payload.len();
    for (place, bytes) in [("begins", &payload[..8]), ("ends", &payload[len - 8..])] {
        ensure!(bytes == number.to_le_bytes(), "frame {number} {place} with {bytes:02x?}, not with its number");
    }
    if whole {
        let wrong = (8..len - 8).find(|&index| payload[index] != pattern(index, number));
        ensure!(wrong.is_none(), "frame {number} of {len} bytes is wrong from byte {} on", wrong.unwrap_or_default());
    }
    Ok(())
}

fn pattern(index: usize, number: u64) -> u8 {
    // 251 is a prime: pages and cache lines differ from each other.
    ((index as u64 * 31 + number * 7) % 251) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_byte_of_a_whole_payload_is_noticed() {
        let mut payload = vec![0; 100];
        mark(&mut payload, 5, true);
        check(&payload, 5, true).unwrap();
        check(&payload, 6, true).unwrap_err();
        for index in 0..payload.len() {
            payload[index] ^= 1;
            check(&payload, 5, true).unwrap_err();
            payload[index] ^= 1;
        }
    }

    #[test]
    fn a_marked_payload_is_told_from_its_neighbours_at_both_ends() {
        let mut payload = vec![7; SHORTEST];
        mark(&mut payload, 1, false);
        check(&payload, 1, false).unwrap();
        payload[SHORTEST - 1] = 1;
        check(&payload, 1, false).unwrap_err();
    }
}
