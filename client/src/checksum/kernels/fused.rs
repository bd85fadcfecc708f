//! Copying and XXH3-64 in one pass through the registers: the code that all vector kernels share.
//!
//! `memcpy`, then hash, reads the data twice; and an ordinary store makes the processor read the line that it is about
//! to overwrite. A non-temporal store does not, which pays off for data larger than the caches anyway.
//!
//! A kernel is a [`Vector`], and functions with its `#[target_feature]` that call [`copy`] and [`hash`]. All here is
//! `#[inline(always)]`, and so compiled again inside each of those functions, for its instruction set. Closures would
//! not be: they are functions without one.
#![expect(clippy::inline_always, reason = "see above")]

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, _mm_sfence};

use super::kernel::SHORT;
use super::xxh3::{BLOCK, INITIAL, LAST_STRIPE_SECRET, SCRAMBLE_SECRET, SECRET, STRIPE, STRIPES, finish};

/// How far ahead the source is fetched when streaming, in bytes. Ordinary stores fetch the destination too, and then
/// more than a little of the source is in the way: see [`Vector::AHEAD`]. Both are from `benches/kernels.rs`, with
/// other values of it.
const STREAM_AHEAD: usize = 4096;

/// A vector of some instruction set.
///
/// # Safety
///
/// All functions need a processor that has the instruction set, and pointers that are valid for a vector.
pub(super) trait Vector: Copy {
    /// How far ahead the source is fetched when storing ordinarily, in bytes; 0 leaves that to the processor.
    const AHEAD: usize;

    unsafe fn load(from: *const u8) -> Self;

    unsafe fn store(self, to: *mut u8);

    /// Stores past the caches, to an address that is a multiple of the vector's size. Other processors may see it late:
    /// `sfence`.
    ///
    /// # Safety
    ///
    /// As the trait, and the address is aligned to the vector's size.
    unsafe fn stream(self, to: *mut u8);

    /// The accumulators `self` after this data, with the secret that belongs to it.
    ///
    /// # Safety
    ///
    /// As the trait.
    unsafe fn accumulate(self, data: Self, secret: Self) -> Self;

    /// The accumulators `self` after a block.
    ///
    /// # Safety
    ///
    /// As the trait.
    unsafe fn scramble(self, secret: Self) -> Self;
}

/// 64 bytes in registers: a stripe of the data or of the secret, or the eight accumulators.
#[derive(Clone, Copy)]
struct Stripe<V, const N: usize>([V; N]);

impl<V: Vector, const N: usize> Stripe<V, N> {
    /// # Safety
    ///
    /// As [`Vector`], for 64 bytes; so all functions here.
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        const { assert!(N * size_of::<V>() == STRIPE) };
        // SAFETY: the caller vouches for it.
        let mut vectors = [unsafe { V::load(from) }; N];
        for (i, vector) in vectors.iter_mut().enumerate().skip(1) {
            // SAFETY: likewise.
            *vector = unsafe { V::load(from.wrapping_add(i * size_of::<V>())) };
        }
        Self(vectors)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        for (i, vector) in self.0.into_iter().enumerate() {
            // SAFETY: the caller vouches for it.
            unsafe { vector.store(to.wrapping_add(i * size_of::<V>())) };
        }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        for (i, vector) in self.0.into_iter().enumerate() {
            // SAFETY: the caller vouches for it.
            unsafe { vector.stream(to.wrapping_add(i * size_of::<V>())) };
        }
    }

    /// 64 bytes of the secret.
    #[inline(always)]
    unsafe fn secret(at: usize) -> Self {
        let bytes: &[u8] = &SECRET[at..at + STRIPE];
        // SAFETY: these are 64 bytes, and the caller vouches for the processor.
        unsafe { Self::load(bytes.as_ptr()) }
    }

    /// The accumulators `self` after a stripe of data, which uses the secret from `secret` on.
    #[inline(always)]
    unsafe fn accumulate(mut self, data: Self, secret: usize) -> Self {
        // SAFETY: the caller vouches for it.
        let secret = unsafe { Self::secret(secret) };
        for i in 0..N {
            // SAFETY: likewise.
            self.0[i] = unsafe { self.0[i].accumulate(data.0[i], secret.0[i]) };
        }
        self
    }

    /// The accumulators `self` after a block.
    #[inline(always)]
    unsafe fn scramble(mut self) -> Self {
        // SAFETY: the caller vouches for it.
        let secret = unsafe { Self::secret(SCRAMBLE_SECRET) };
        for i in 0..N {
            // SAFETY: likewise.
            self.0[i] = unsafe { self.0[i].scramble(secret.0[i]) };
        }
        self
    }
}

/// Copies `len` bytes from `from` to `to` and returns the XXH3-64 of the copy. With `STREAM`, by non-temporal
/// stores, all of which are visible to others before any later store.
///
/// Each byte of the source is loaded once, so the copy is what was hashed, even if others write to the source.
///
/// # Safety
///
/// The processor has the instruction set of `V`; `len` is more than [`SHORT`]; `from` is valid for reads and `to` for
/// writes of `len` bytes, which do not overlap; with `STREAM`, `to` is a multiple of the size of `V`.
#[inline(always)]
pub(super) unsafe fn copy<V: Vector, const N: usize, const STREAM: bool>(
    from: *const u8,
    to: *mut u8,
    len: usize,
) -> u64 {
    debug_assert!(!STREAM || to.addr().is_multiple_of(size_of::<V>()), "streaming to {to:p}");
    // SAFETY: the caller vouches for it.
    let hash = unsafe { run::<V, N, Copying<STREAM>>(from, to, len) };
    if STREAM {
        // SAFETY: every x86-64 processor has it.
        unsafe { _mm_sfence() };
    }
    hash
}

/// Returns the XXH3-64 of `len` bytes at `from`.
///
/// # Safety
///
/// The processor has the instruction set of `V`; `len` is more than [`SHORT`]; `from` is valid for reads of `len`
/// bytes.
#[inline(always)]
pub(super) unsafe fn hash<V: Vector, const N: usize>(from: *const u8, len: usize) -> u64 {
    // SAFETY: the caller vouches for reading, and nothing is written.
    unsafe { run::<V, N, InPlace>(from, from.cast_mut(), len) }
}

/// What to do with a stripe besides hashing it.
trait Transfer {
    /// How far ahead the source is fetched, in bytes, or 0.
    fn ahead<V: Vector>() -> usize;

    /// # Safety
    ///
    /// As [`copy`], for a stripe at `to`.
    unsafe fn stripe<V: Vector, const N: usize>(data: Stripe<V, N>, to: *mut u8);

    /// The last 1 to 64 bytes, which are no stripe.
    ///
    /// # Safety
    ///
    /// As [`copy`].
    unsafe fn rest(from: *const u8, to: *mut u8, len: usize);
}

/// It is copied.
struct Copying<const STREAM: bool>;

impl<const STREAM: bool> Transfer for Copying<STREAM> {
    #[inline(always)]
    fn ahead<V: Vector>() -> usize {
        if STREAM { STREAM_AHEAD } else { V::AHEAD }
    }

    // SAFETY: for the caller to ensure, as of the trait's: `to` is valid for a stripe, and aligned if it is streamed.
    #[inline(always)]
    unsafe fn stripe<V: Vector, const N: usize>(data: Stripe<V, N>, to: *mut u8) {
        if STREAM {
            // SAFETY: the caller vouches for it.
            unsafe { data.stream(to) }
        } else {
            // SAFETY: the caller vouches for it.
            unsafe { data.store(to) }
        }
    }

    #[inline(always)]
    unsafe fn rest(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: the caller vouches for it.
        unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    }
}

/// Nothing: `to` is where it is.
struct InPlace;

impl Transfer for InPlace {
    #[inline(always)]
    fn ahead<V: Vector>() -> usize {
        0
    }

    // SAFETY: neither this nor `rest` touches anything.
    #[inline(always)]
    unsafe fn stripe<V: Vector, const N: usize>(_: Stripe<V, N>, _: *mut u8) {}

    #[inline(always)]
    unsafe fn rest(_: *const u8, _: *mut u8, _: usize) {}
}

/// # Safety
///
/// As [`copy`].
#[inline(always)]
unsafe fn run<V: Vector, const N: usize, T: Transfer>(from: *const u8, to: *mut u8, len: usize) -> u64 {
    debug_assert!(len > SHORT, "{len} bytes");
    // SAFETY: the initial accumulators are 64 bytes.
    let mut accumulators = unsafe { Stripe::<V, N>::load(INITIAL.as_ptr().cast()) };
    let blocks = (len - 1) / BLOCK;
    for block in 0..blocks {
        let at = block * BLOCK;
        let (from, to) = (from.wrapping_add(at), to.wrapping_add(at));
        // Written out, so that each stripe's place in the secret is a constant.
        macro_rules! stripes {
            ($($stripe:literal)*) => {$({
                let at = $stripe * STRIPE;
                if T::ahead::<V>() > 0 {
                    // SAFETY: every x86-64 processor has it, and it may be given any address.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(at + T::ahead::<V>()).cast()) };
                }
                let (from, to) = (from.wrapping_add(at), to.wrapping_add(at));
                // SAFETY: inside the block, which ends before len.
                accumulators = unsafe { stripe::<V, N, T>(accumulators, from, to, $stripe * 8) };
            })*};
        }
        const { assert!(STRIPES == 16) };
        stripes!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        // SAFETY: the processor can.
        accumulators = unsafe { accumulators.scramble() };
    }
    let mut at = blocks * BLOCK;
    for number in 0..(len - 1 - at) / STRIPE {
        let (from, to) = (from.wrapping_add(at), to.wrapping_add(at));
        // SAFETY: at + STRIPE < len.
        accumulators = unsafe { stripe::<V, N, T>(accumulators, from, to, number * 8) };
        at += STRIPE;
    }
    // SAFETY: the rest, 1 to 64 bytes.
    unsafe { T::rest(from.wrapping_add(at), to.wrapping_add(at), len - at) };
    // The last 64 bytes, some of which were hashed before: as they have arrived, for the source may have changed.
    // SAFETY: len > STRIPE, and all of it is written.
    let last = unsafe { Stripe::<V, N>::load(to.wrapping_add(len - STRIPE)) };
    // SAFETY: the processor can.
    accumulators = unsafe { accumulators.accumulate(last, LAST_STRIPE_SECRET) };
    let mut words = [0; 8];
    // SAFETY: the words are 64 bytes.
    unsafe { accumulators.store(words.as_mut_ptr().cast()) };
    finish(words, len)
}

/// Transfers and hashes one stripe.
///
/// # Safety
///
/// As [`copy`], for `STRIPE` bytes.
#[inline(always)]
unsafe fn stripe<V: Vector, const N: usize, T: Transfer>(
    accumulators: Stripe<V, N>,
    from: *const u8,
    to: *mut u8,
    secret: usize,
) -> Stripe<V, N> {
    // SAFETY: the caller vouches for it.
    let data = unsafe { Stripe::<V, N>::load(from) };
    // SAFETY: the caller vouches for it.
    unsafe { T::stripe(data, to) };
    // SAFETY: the processor can.
    unsafe { accumulators.accumulate(data, secret) }
}
