//! Copying and XXH3-64 in one pass with AVX2: each byte is loaded once, hashed in registers and stored.
//!
//! `memcpy`, then hash, reads the data twice; and an ordinary store makes the processor read the line that it is about to
//! overwrite. A non-temporal store does not, which is worth it for what is larger than the caches anyway.

use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm_sfence, _mm256_add_epi64, _mm256_loadu_si256, _mm256_mul_epu32,
    _mm256_set1_epi64x, _mm256_shuffle_epi32, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_storeu_si256,
    _mm256_stream_si256, _mm256_xor_si256,
};
use std::mem::transmute;

use super::xxh3::{
    BLOCK, INITIAL, LAST_STRIPE_SECRET, PRIME32_1, SCRAMBLE_SECRET, SECRET, SHORT, STRIPE, STRIPES, finish,
};

/// How far ahead the source is fetched, in bytes.
const AHEAD: usize = 1024;

/// Copies `len` bytes from `from` to `to` and returns the XXH3-64 of what was copied. With `STREAM`, by non-temporal
/// stores, all of which are visible to others before any later store.
///
/// Each byte of the source is loaded once, and so what arrives is what was hashed, whoever else writes to the source.
///
/// # Safety
///
/// The processor has AVX2; `len` is more than [`SHORT`]; `from` is valid for reads and `to` for writes of `len` bytes, which
/// do not overlap; with `STREAM`, `to` is aligned to 32 bytes.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn copy<const STREAM: bool>(from: *const u8, to: *mut u8, len: usize) -> u64 {
    debug_assert!(len > SHORT && (!STREAM || to.addr().is_multiple_of(32)), "{len} bytes to {to:p}");
    let mut state = State::new();
    let blocks = (len - 1) / BLOCK;
    for block in 0..blocks {
        let at = block * BLOCK;
        // SAFETY: at + BLOCK < len.
        unsafe { state.copy_block::<STREAM>(from.wrapping_add(at), to.wrapping_add(at)) };
        state.scramble();
    }
    let mut at = blocks * BLOCK;
    for stripe in 0..(len - 1 - at) / STRIPE {
        // SAFETY: at + STRIPE < len.
        unsafe { state.copy_stripe::<STREAM>(from.wrapping_add(at), to.wrapping_add(at), stripe * 8) };
        at += STRIPE;
    }
    // SAFETY: the rest, 1 to 64 bytes.
    unsafe { std::ptr::copy_nonoverlapping(from.wrapping_add(at), to.wrapping_add(at), len - at) };
    // The last 64 bytes, some of which were hashed before: as they have arrived, for the source may have changed.
    // SAFETY: len > STRIPE, and all of it is written.
    unsafe { state.hash_stripe(to.wrapping_add(len - STRIPE), LAST_STRIPE_SECRET) };
    if STREAM {
        _mm_sfence();
    }
    finish(state.accumulators(), len)
}

/// The eight accumulators.
struct State {
    low: __m256i,
    high: __m256i,
}

impl State {
    fn new() -> Self {
        // SAFETY: two vectors of 32 bytes are eight numbers of 8.
        let [low, high] = unsafe { transmute::<[u64; 8], [__m256i; 2]>(INITIAL) };
        Self { low, high }
    }

    fn accumulators(self) -> [u64; 8] {
        // SAFETY: as in `new`.
        unsafe { transmute::<[__m256i; 2], [u64; 8]>([self.low, self.high]) }
    }

    /// Copies and hashes a block.
    ///
    /// # Safety
    ///
    /// As [`copy`], for `BLOCK` bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn copy_block<const STREAM: bool>(&mut self, from: *const u8, to: *mut u8) {
        // Written out, so that each stripe's place in the secret is a constant.
        macro_rules! stripes {
            ($($stripe:literal)*) => {$({
                let at = $stripe * STRIPE;
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(at + AHEAD).cast());
                // SAFETY: inside the block.
                unsafe { self.copy_stripe::<STREAM>(from.wrapping_add(at), to.wrapping_add(at), $stripe * 8) };
            })*};
        }
        const { assert!(STRIPES == 16) };
        stripes!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    }

    /// Copies and hashes a stripe, with the secret from `secret` on.
    ///
    /// # Safety
    ///
    /// As [`copy`], for `STRIPE` bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn copy_stripe<const STREAM: bool>(&mut self, from: *const u8, to: *mut u8, secret: usize) {
        // SAFETY: the caller vouches for 64 bytes.
        let (low, high) = unsafe { load(from) };
        #[expect(clippy::cast_ptr_alignment, reason = "an unaligned store, or the caller vouches for the alignment")]
        let store = |vector, at: usize| {
            let to = to.wrapping_add(at).cast::<__m256i>();
            if STREAM {
                // SAFETY: the caller vouches for 64 bytes, aligned.
                unsafe { _mm256_stream_si256(to, vector) }
            } else {
                // SAFETY: the caller vouches for 64 bytes.
                unsafe { _mm256_storeu_si256(to, vector) }
            }
        };
        store(low, 0);
        store(high, 32);
        self.accumulate(low, high, secret);
    }

    /// Hashes a stripe.
    ///
    /// # Safety
    ///
    /// `from` is valid for reads of `STRIPE` bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn hash_stripe(&mut self, from: *const u8, secret: usize) {
        // SAFETY: the caller vouches for 64 bytes.
        let (low, high) = unsafe { load(from) };
        self.accumulate(low, high, secret);
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn accumulate(&mut self, low: __m256i, high: __m256i, secret: usize) {
        let (secret_low, secret_high) = secret_at(secret);
        self.low = accumulate(self.low, low, secret_low);
        self.high = accumulate(self.high, high, secret_high);
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn scramble(&mut self) {
        let (secret_low, secret_high) = secret_at(SCRAMBLE_SECRET);
        self.low = scramble(self.low, secret_low);
        self.high = scramble(self.high, secret_high);
    }
}

/// # Safety
///
/// `from` is valid for reads of `STRIPE` bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(from: *const u8) -> (__m256i, __m256i) {
    // SAFETY: the caller vouches for it.
    let low = unsafe { _mm256_loadu_si256(from.cast()) };
    // SAFETY: likewise.
    let high = unsafe { _mm256_loadu_si256(from.wrapping_add(32).cast()) };
    (low, high)
}

/// 64 bytes of the secret.
#[inline]
#[target_feature(enable = "avx2")]
fn secret_at(at: usize) -> (__m256i, __m256i) {
    let stripe: &[u8] = &SECRET[at..at + STRIPE];
    // SAFETY: 64 bytes of the secret.
    unsafe { load(stripe.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn accumulate(accumulator: __m256i, data: __m256i, secret: __m256i) -> __m256i {
    let keyed = _mm256_xor_si256(data, secret);
    let product = _mm256_mul_epu32(keyed, _mm256_shuffle_epi32::<0b00_11_00_01>(keyed));
    let neighbour = _mm256_shuffle_epi32::<0b01_00_11_10>(data);
    _mm256_add_epi64(_mm256_add_epi64(accumulator, neighbour), product)
}

#[inline]
#[target_feature(enable = "avx2")]
fn scramble(accumulator: __m256i, secret: __m256i) -> __m256i {
    let prime = _mm256_set1_epi64x(PRIME32_1.cast_signed());
    let mixed = _mm256_xor_si256(accumulator, _mm256_srli_epi64::<47>(accumulator));
    let keyed = _mm256_xor_si256(mixed, secret);
    let low = _mm256_mul_epu32(keyed, prime);
    let high = _mm256_mul_epu32(_mm256_srli_epi64::<32>(keyed), prime);
    _mm256_add_epi64(low, _mm256_slli_epi64::<32>(high))
}
