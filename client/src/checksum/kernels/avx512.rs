//! The kernel for processors with AVX-512: a stripe is one vector, so a non-temporal store fills a cache line at once.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_loadu_si512, _mm512_mul_epu32, _mm512_set1_epi64, _mm512_shuffle_epi32,
    _mm512_slli_epi64, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_stream_si512, _mm512_xor_si512,
};

use super::fused::{self, Vector};
use super::kernel::Kernel;
use super::sse2;
use super::xxh3::PRIME32_1;

pub(super) static KERNEL: Kernel =
    Kernel { name: "avx512", copy, streams: [(size_of::<__m512i>(), stream), sse2::KERNEL.streams[0]], hash };

/// # Safety
///
/// As [`Kernel`]: the processor has AVX-512F, and both sides are valid for `len` bytes, more than `SHORT`.
#[target_feature(enable = "avx512f")]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> u64 {
    // SAFETY: see `Kernel`.
    unsafe { fused::copy::<__m512i, 1, false>(from, to, len) }
}

#[target_feature(enable = "avx512f")]
unsafe fn stream(from: *const u8, to: *mut u8, len: usize) -> u64 {
    // SAFETY: see `Kernel`.
    unsafe { fused::copy::<__m512i, 1, true>(from, to, len) }
}

#[target_feature(enable = "avx512f")]
unsafe fn hash(from: *const u8, len: usize) -> u64 {
    // SAFETY: see `Kernel`.
    unsafe { fused::hash::<__m512i, 1>(from, len) }
}

impl Vector for __m512i {
    const AHEAD: usize = 256;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 64 bytes: here and below.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_si512(to.cast(), self) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: as above, and the caller vouches for the alignment.
        unsafe { _mm512_stream_si512(to.cast(), self) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn accumulate(self, data: Self, secret: Self) -> Self {
        let keyed = _mm512_xor_si512(data, secret);
        let product = _mm512_mul_epu32(keyed, _mm512_shuffle_epi32::<0b00_11_00_01>(keyed));
        let neighbour = _mm512_shuffle_epi32::<0b01_00_11_10>(data);
        _mm512_add_epi64(_mm512_add_epi64(self, neighbour), product)
    }

    // SAFETY: for the caller to ensure, as of all functions of `Vector`: the processor has AVX-512F.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn scramble(self, secret: Self) -> Self {
        let prime = _mm512_set1_epi64(PRIME32_1.cast_signed());
        let mixed = _mm512_xor_si512(self, _mm512_srli_epi64::<47>(self));
        let keyed = _mm512_xor_si512(mixed, secret);
        let low = _mm512_mul_epu32(keyed, prime);
        let high = _mm512_mul_epu32(_mm512_srli_epi64::<32>(keyed), prime);
        _mm512_add_epi64(low, _mm512_slli_epi64::<32>(high))
    }
}
