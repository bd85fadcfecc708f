//! The kernel for processors with AVX2: a stripe is two vectors.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_loadu_si256, _mm256_mul_epu32, _mm256_set1_epi64x, _mm256_shuffle_epi32,
    _mm256_slli_epi64, _mm256_srli_epi64, _mm256_storeu_si256, _mm256_stream_si256, _mm256_xor_si256,
};

use super::fused::{self, Vector};
use super::kernel::Kernel;
use super::sse2;
use super::xxh3::PRIME32_1;

pub(super) static KERNEL: Kernel =
    Kernel { name: "avx2", copy, streams: [(size_of::<__m256i>(), stream), sse2::KERNEL.streams[0]], hash };

/// # Safety
///
/// As [`Kernel`]: the processor has AVX2, and both sides are valid for `len` bytes, more than `SHORT`.
#[target_feature(enable = "avx2")]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> u64 {
    // SAFETY: see `Kernel`.
    unsafe { fused::copy::<__m256i, 2, false>(from, to, len) }
}

#[target_feature(enable = "avx2")]
unsafe fn stream(from: *const u8, to: *mut u8, len: usize) -> u64 {
    // SAFETY: see `Kernel`.
    unsafe { fused::copy::<__m256i, 2, true>(from, to, len) }
}

#[target_feature(enable = "avx2")]
unsafe fn hash(from: *const u8, len: usize) -> u64 {
    // SAFETY: see `Kernel`.
    unsafe { fused::hash::<__m256i, 2>(from, len) }
}

impl Vector for __m256i {
    const AHEAD: usize = 384;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 32 bytes: here and below.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(to.cast(), self) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: as above, and the caller vouches for the alignment.
        unsafe { _mm256_stream_si256(to.cast(), self) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn accumulate(self, data: Self, secret: Self) -> Self {
        let keyed = _mm256_xor_si256(data, secret);
        let product = _mm256_mul_epu32(keyed, _mm256_shuffle_epi32::<0b00_11_00_01>(keyed));
        let neighbour = _mm256_shuffle_epi32::<0b01_00_11_10>(data);
        _mm256_add_epi64(_mm256_add_epi64(self, neighbour), product)
    }

    // SAFETY: for the caller to ensure, as of all functions of `Vector`: the processor has AVX2.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scramble(self, secret: Self) -> Self {
        let prime = _mm256_set1_epi64x(PRIME32_1.cast_signed());
        let mixed = _mm256_xor_si256(self, _mm256_srli_epi64::<47>(self));
        let keyed = _mm256_xor_si256(mixed, secret);
        let low = _mm256_mul_epu32(keyed, prime);
        let high = _mm256_mul_epu32(_mm256_srli_epi64::<32>(keyed), prime);
        _mm256_add_epi64(low, _mm256_slli_epi64::<32>(high))
    }
}
