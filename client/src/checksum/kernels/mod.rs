//! Copying and hashing frames by the fastest code that the processor has, decided once.
//!
//! - [`avx512`], [`avx2`], [`sse2`]: one pass through the registers, of which [`fused`] is what they share and [`xxh3`] the
//!   constants;
//! - [`portable`]: for any other processor, block by block with the `twox-hash` crate, which also hashes what is short, and
//!   which the tests compare all others with.

#![cfg_attr(not(feature = "_kernels"), allow(unreachable_pub, dead_code))]

use std::env;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod fused;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sse2;
#[cfg(target_arch = "x86_64")]
mod xxh3;

/// Inputs up to this length, in bytes, are hashed in other ways than longer ones (xxHash specification, XXH3).
const SHORT: usize = 240;

/// The environment variable that names the kernel to use, for tests and measurements.
const OVERRIDE: &str = "FRAMEBUFFER_KERNEL";

/// Copies and hashes.
type Copy = unsafe fn(*const u8, *mut u8, usize) -> u64;

/// Code for one instruction set.
///
/// # Safety
///
/// The functions need more than [`SHORT`] bytes, and a processor with that instruction set: kernels come from
/// [`available`].
#[derive(Debug)]
pub struct Kernel {
    name: &'static str,
    copy: Copy,
    /// As `copy`, past the caches, to an address that is a multiple of the number beside it. Memory for large buffers that
    /// comes from an allocator is rarely aligned to more than 16 bytes, hence the second one.
    streams: [(usize, Copy); 2],
    hash: unsafe fn(*const u8, usize) -> u64,
}

impl Kernel {
    /// What [`OVERRIDE`] calls it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Copies `len` bytes from `from` to `to` in one pass over memory and returns the XXH3-64 of what arrived: what lies at
    /// `to` then is what was hashed, whoever else writes to `from`. With `stream`, past the caches if `to` is aligned
    /// enough for that; in any case before whatever the caller stores later.
    ///
    /// # Safety
    ///
    /// `from` is valid for reads and `to` for writes of `len` bytes, which do not overlap; nobody else writes to `to`.
    #[inline]
    pub unsafe fn copy(&self, from: *const u8, to: *mut u8, len: usize, stream: bool) -> u64 {
        let copy = if len <= SHORT {
            portable::copy
        } else if stream {
            let possible = self.streams.iter().find(|(align, _)| to.addr().is_multiple_of(*align));
            possible.map_or(self.copy, |(_, stream)| *stream)
        } else {
            self.copy
        };
        // SAFETY: the processor can run the kernel, and the caller vouches for the rest.
        unsafe { copy(from, to, len) }
    }

    /// The XXH3-64 of `data`.
    #[inline]
    pub fn hash(&self, data: &[u8]) -> u64 {
        let hash = if data.len() <= SHORT { portable::hash } else { self.hash };
        // SAFETY: the processor can run the kernel, and `data` is valid for reads.
        unsafe { hash(data.as_ptr(), data.len()) }
    }
}

/// All kernels that this processor can run, the widest first. AVX-512 and AVX2 differ by little on AMD Zen 4, each being ahead
/// in some of what `benches/kernels.rs` measures.
pub fn available() -> Vec<&'static Kernel> {
    let mut kernels = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            kernels.push(&avx512::KERNEL);
        }
        if is_x86_feature_detected!("avx2") {
            kernels.push(&avx2::KERNEL);
        }
        kernels.push(&sse2::KERNEL);
    }
    kernels.push(&portable::KERNEL);
    kernels
}

/// The kernel of this process: the widest, or that which [`OVERRIDE`] names.
#[inline]
pub(crate) fn kernel() -> &'static Kernel {
    // Null before the first call. Threads that come at once choose the same.
    static CHOSEN: AtomicPtr<Kernel> = AtomicPtr::new(ptr::null_mut());
    // SAFETY: null, or a kernel, all of which are static and never changed.
    if let Some(kernel) = unsafe { CHOSEN.load(Ordering::Relaxed).as_ref() } {
        return kernel;
    }
    let kernel = choose(env::var(OVERRIDE).ok().as_deref(), &available());
    CHOSEN.store(ptr::from_ref(kernel).cast_mut(), Ordering::Relaxed);
    kernel
}

/// The one of that name, or the first; a name that is not there is said and passed over.
fn choose(name: Option<&str>, kernels: &[&'static Kernel]) -> &'static Kernel {
    let Some(name) = name else { return kernels[0] };
    kernels.iter().find(|kernel| kernel.name == name).copied().unwrap_or_else(|| {
        let names: Vec<_> = kernels.iter().map(|kernel| kernel.name).collect();
        tracing::warn!("{OVERRIDE}={name:?} is none of {names:?}, which this processor has: using {}", kernels[0].name);
        kernels[0]
    })
}

#[cfg(test)]
mod tests;
