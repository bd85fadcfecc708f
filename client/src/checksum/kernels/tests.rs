use proptest::prelude::*;
use twox_hash::XxHash3_64;

use super::*;

/// Bytes around the destination that must stay as they are; a multiple of every alignment.
const MARGIN: usize = 64;

/// Has every kernel hash `data`, and copy it to a place `shift` bytes beyond a cache line by both kinds of stores.
fn check(data: &[u8], shift: usize) {
    let expected = XxHash3_64::oneshot(data);
    let context = |kernel: &Kernel, what| format!("{}, {what}: {} bytes, shifted by {shift}", kernel.name, data.len());
    let mut room = vec![0xEE; data.len() + 3 * MARGIN];
    let start = room.as_ptr().align_offset(MARGIN) + shift;
    for kernel in available() {
        assert_eq!(kernel.hash(data), expected, "{}", context(kernel, "hash"));
        for (what, stream) in [("copy", false), ("stream", true)] {
            room.fill(0xEE);
            // SAFETY: two separate buffers, with room for data.len() bytes behind `start`.
            let found =
                unsafe { kernel.copy(data.as_ptr(), room.as_mut_ptr().wrapping_add(start), data.len(), stream) };
            assert_eq!(found, expected, "{}", context(kernel, what));
            let (before, rest) = room.split_at(start);
            let (copied, after) = rest.split_at(data.len());
            assert!(copied == data, "{}", context(kernel, what));
            assert!(before.iter().chain(after).all(|&byte| byte == 0xEE), "{} and beyond", context(kernel, what));
        }
    }
}

/// The input of the vectors that xxHash is published with (`cli/xsum_sanity_check.c`).
fn published_input(len: usize) -> Vec<u8> {
    let next = |state: &u64| Some(state.wrapping_mul(11_400_714_785_074_694_797));
    std::iter::successors(Some(2_654_435_761), next).map(|state| (state >> 56) as u8).take(len).collect()
}

#[test]
fn every_kernel_agrees_with_the_vectors_that_xxhash_is_published_with() {
    let vectors = [
        (0, 0x2D06_8005_38D3_94C2),
        (1, 0xC44B_DFF4_074E_ECDB),
        (6, 0x27B5_6A84_CD2D_7325),
        (12, 0xA713_DAF0_DFBB_77E7),
        (24, 0xA3FE_70BF_9D35_10EB),
        (48, 0x397D_A259_ECBA_1F11),
        (80, 0xBCDE_FBBB_2C47_C90A),
        (195, 0xCD94_217E_E362_EC3A),
        (403, 0xCDEB_804D_65C6_DEA4),
        (512, 0x617E_4959_9013_CB6B),
        (2048, 0xDD59_E2C3_A5F0_38E0),
        (2240, 0x6E73_A905_39CF_2948),
        (2367, 0xCB37_AEB9_E5D3_61ED),
    ];
    for (len, expected) in vectors {
        for kernel in available() {
            assert_eq!(kernel.hash(&published_input(len)), expected, "{}, {len} bytes", kernel.name);
        }
    }
}

#[test]
fn every_kernel_is_right_at_every_length_up_to_4096_and_every_alignment() {
    let data = published_input(4096 + 64);
    for len in 0..=4096 {
        for (from, shift) in [(0, 0), (len % 64, len * 7 % 64)] {
            check(&data[from..from + len], shift);
        }
    }
    for shift in 0..64 {
        for from in 0..64 {
            check(&data[from..][..1500 + shift], shift);
        }
    }
}

#[test]
fn every_kernel_is_right_at_large_odd_lengths() {
    let data = published_input(5 << 20);
    for len in [16 << 10, (16 << 10) + 1, 65_537, (1 << 20) - 1, (2 << 20) + 63, (4 << 20) + 65, 5 << 20] {
        check(&data[..len], 0);
        check(&data[..len], 3);
    }
}

proptest! {
    #[test]
    fn every_kernel_is_right_whatever_comes(
        data in proptest::collection::vec(any::<u8>(), 0..20_000),
        shift in 0_usize..64,
    ) {
        check(&data, shift);
    }
}

#[test]
fn the_widest_kernel_is_used_unless_another_is_named() {
    let kernels = available();
    assert_eq!(choose(None, &kernels).name, kernels[0].name);
    for kernel in &kernels {
        assert_eq!(choose(Some(kernel.name), &kernels).name, kernel.name);
    }
    assert_eq!(choose(Some("abacus"), &kernels).name, kernels[0].name);
}
