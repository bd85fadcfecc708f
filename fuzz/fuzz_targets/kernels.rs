//! Has every kernel of this processor hash arbitrary data and copy it between places of any alignment. All agree with
//! another implementation of XXH3-64, what arrives is what was sent, and nothing around it is touched.
//!
//! `cargo +nightly fuzz run kernels -- -max_total_time=60`
#![no_main]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use arbitrary::Arbitrary;
use framebuffer::kernels::{Kernel, available};
use libfuzzer_sys::fuzz_target;
use twox_hash::XxHash3_64;

/// The longest input: several hundred blocks of XXH3, more than kernels look ahead.
const LONGEST: usize = 300 << 10;
/// The base of alignments, and the bytes around the destination that must stay unchanged.
const MARGIN: usize = 64;
const UNTOUCHED: u8 = 0xEE;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    length: Length,
    from_shift: u8,
    to_shift: u8,
    data: &'a [u8],
}

/// A fuzzer's inputs are short: longer ones are made by repeating them.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Length {
    AsGiven,
    SomeBlocks(u16),
    Any(u32),
}

impl Input<'_> {
    fn length(&self) -> usize {
        match self.length {
            Length::AsGiven => self.data.len().min(LONGEST),
            Length::SomeBlocks(length) => usize::from(length) % (8 << 10),
            Length::Any(length) => length as usize % (LONGEST + 1),
        }
    }

    /// Fills `to` with the data over and over, another each time: else stripes could be taken for one another
    /// unnoticed.
    fn fill(&self, to: &mut [u8]) {
        let given = if self.data.is_empty() { &[0] } else { self.data };
        for (time, chunk) in to.chunks_mut(given.len()).enumerate() {
            chunk.iter_mut().zip(given).for_each(|(to, given)| *to = given.wrapping_add(time as u8));
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let length = input.length();
    let from = usize::from(input.from_shift) % MARGIN;
    let mut source = Room::new(from + length);
    let data = &mut source.bytes()[from..from + length];
    input.fill(data);
    let expected = XxHash3_64::oneshot(data);
    let to = MARGIN + usize::from(input.to_shift) % MARGIN;
    let mut target = Room::new(to + length + MARGIN);
    let target = target.bytes();
    for kernel in available() {
        let name = kernel.name();
        assert_eq!(kernel.hash(data), expected, "{name}, hash: {length} bytes");
        for stream in [false, true] {
            target.fill(UNTOUCHED);
            let found = copy(kernel, data, &mut target[to..], stream);
            assert_eq!(found, expected, "{name}, copy (streamed: {stream}): {length} bytes");
            let (before, rest) = target.split_at(to);
            let (copied, after) = rest.split_at(length);
            assert!(copied == data, "{name}, copy (streamed: {stream}): {length} bytes arrived changed");
            let untouched = before.iter().chain(after).all(|&byte| byte == UNTOUCHED);
            assert!(untouched, "{name}, copy (streamed: {stream}): more than {length} bytes written");
        }
    }
});

fn copy(kernel: &Kernel, from: &[u8], to: &mut [u8], stream: bool) -> u64 {
    assert!(from.len() <= to.len());
    // SAFETY: two separate buffers, the second not shorter than the first.
    unsafe { kernel.copy(from.as_ptr(), to.as_mut_ptr(), from.len(), stream) }
}

/// A buffer that begins with a cache line and ends with its last byte: AddressSanitizer sees a read past that, which it
/// does not if a `Vec` with a capacity to choose an alignment in is around it.
struct Room {
    bytes: NonNull<u8>,
    layout: Layout,
}

impl Room {
    fn new(length: usize) -> Self {
        let layout = Layout::from_size_align(length.max(1), MARGIN).expect("small");
        // SAFETY: not of size 0.
        let bytes = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory for a few 100 KiB");
        Self { bytes, layout }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated with this length, initialised, and borrowed as `self` is.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed nowhere else.
        unsafe { dealloc(self.bytes.as_ptr(), self.layout) }
    }
}
