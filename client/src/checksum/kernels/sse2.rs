//! The kernel for all x86-64 processors: with SSE2 a stripe is four vectors.

use std::arch::x86_64::{
    __m128i, _mm_add_epi64, _mm_loadu_si128, _mm_mul_epu32, _mm_set1_epi64x, _mm_shuffle_epi32, _mm_slli_epi64,
    _mm_srli_epi64, _mm_storeu_si128, _mm_stream_si128, _mm_xor_si128,
};

use super::fused::{self, Vector};
use super::kernel::Kernel;
use super::xxh3::PRIME32_1;

pub(super) static KERNEL: Kernel = Kernel { name: "sse2", copy, streams: [(size_of::<__m128i>(), stream); 2], hash };

/// # Safety
///
/// As [`Kernel`]: the processor has SSE2, and both sides are valid for `len` bytes, more than `SHORT`.
#[target_feature(enable = "sse2")]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> u64 {
    // SAFETY: see `Kernel`.
    unsafe { fused::copy::<__m128i, 4, false>(from, to, len) }
}

#[target_feature(enable = "sse2")]
pub(super) unsafe fn stream(from: *const u8, to: *mut u8, len: usize) -> u64 {
    // SAFETY: see `Kernel`.
    unsafe { fused::copy::<__m128i, 4, true>(from, to, len) }
}

#[target_feature(enable = "sse2")]
unsafe fn hash(from: *const u8, len: usize) -> u64 {
    // SAFETY: see `Kernel`.
    unsafe { fused::hash::<__m128i, 4>(from, len) }
}

impl Vector for __m128i {
    const AHEAD: usize = 384;

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes: here and below.
        unsafe { _mm_loadu_si128(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(to.cast(), self) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: as above, and the caller vouches for the alignment.
        unsafe { _mm_stream_si128(to.cast(), self) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn accumulate(self, data: Self, secret: Self) -> Self {
        let keyed = _mm_xor_si128(data, secret);
        let product = _mm_mul_epu32(keyed, _mm_shuffle_epi32::<0b00_11_00_01>(keyed));
        let neighbour = _mm_shuffle_epi32::<0b01_00_11_10>(data);
        _mm_add_epi64(_mm_add_epi64(self, neighbour), product)
    }

    // SAFETY: for the caller to ensure, as of all functions of `Vector`: the processor has SSE2.
    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn scramble(self, secret: Self) -> Self {
        let prime = _mm_set1_epi64x(PRIME32_1.cast_signed());
        let mixed = _mm_xor_si128(self, _mm_srli_epi64::<47>(self));
        let keyed = _mm_xor_si128(mixed, secret);
        let low = _mm_mul_epu32(keyed, prime);
        let high = _mm_mul_epu32(_mm_srli_epi64::<32>(keyed), prime);
        _mm_add_epi64(low, _mm_slli_epi64::<32>(high))
    }
}
