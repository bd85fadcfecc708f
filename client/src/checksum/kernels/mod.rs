//! Copying and hashing frames with the fastest code that the processor can run, chosen once.
//!
//! - [`Kernel`]: the code for one instruction set;
//! - [`avx512`], [`avx2`], [`sse2`]: one pass through the registers; [`fused`] is the code they share, [`xxh3`] the
//!   constants;
//! - [`portable`]: for any other processor, block by block with the `twox-hash` crate. It also hashes short inputs, and
//!   the tests compare all others with it.

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
mod kernel;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sse2;
#[cfg(target_arch = "x86_64")]
mod xxh3;

pub use kernel::Kernel;

/// The environment variable that names the kernel to use, for tests and measurements.
const OVERRIDE: &str = "FRAMEBUFFER_KERNEL";

/// All kernels that this processor can run, the widest first. AVX-512 and AVX2 differ little on AMD Zen 4: each is
/// ahead in some of the measurements of `benches/kernels.rs`.
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
    kernels.push(&kernel::PORTABLE);
    kernels
}

/// The kernel of this process: the widest, or the one that [`OVERRIDE`] names.
#[inline]
pub(crate) fn chosen() -> &'static Kernel {
    // Null before the first call. Concurrent first calls choose the same.
    static CHOSEN: AtomicPtr<Kernel> = AtomicPtr::new(ptr::null_mut());
    // SAFETY: null, or a kernel, all of which are static and never changed.
    if let Some(kernel) = unsafe { CHOSEN.load(Ordering::Relaxed).as_ref() } {
        return kernel;
    }
    let kernel = choose(env::var(OVERRIDE).ok().as_deref(), &available());
    CHOSEN.store(ptr::from_ref(kernel).cast_mut(), Ordering::Relaxed);
    kernel
}

/// The kernel of that name, or the first. An unknown name is logged and ignored.
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
