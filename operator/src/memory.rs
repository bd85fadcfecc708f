//! [`Memory`]: what a ring of a given size costs its pod.

const MIB: u64 = 1 << 20;

/// What the sidecar itself needs beside the ring: it stays below 6 MiB, and a probe runs a second process of it.
const SIDECAR_MIB: u64 = 16;

/// At most what the ring's control block and its rounding to huge pages add.
const CONTROL_MIB: u64 = 4;

/// The size of a container's own `/dev/shm`: whatever a program kept there still fits beside the ring.
const SPARE_MIB: u64 = 64;

/// What a ring of a given size costs its pod. All amounts are whole MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    segment_mib: u64,
}

impl Memory {
    /// Of a ring that keeps `size` bytes. The sidecar adds size/256 (64 KiB at least) for the headers of frames.
    pub fn of_ring(size: u64) -> Self {
        let data = size + (size / 256).max(64 << 10);
        Self { segment_mib: data.div_ceil(MIB) + CONTROL_MIB }
    }

    /// Request and limit of the sidecar in bytes: the ring is charged to it.
    pub fn sidecar_bytes(self) -> u64 {
        (self.segment_mib + SIDECAR_MIB) * MIB
    }

    /// The same, as a quantity.
    pub fn sidecar(self) -> String {
        format!("{}Mi", self.segment_mib + SIDECAR_MIB)
    }

    /// Size limit of the volume, as a quantity.
    pub fn volume(self) -> String {
        format!("{}Mi", self.segment_mib + SPARE_MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_holds_the_ring_and_the_sidecar() {
        for size in [64 << 10, 1 << 20, 64 << 20, 500 << 20, 7 << 30, (1 << 40) - 1] {
            let memory = Memory::of_ring(size);
            let page = if size < 64 << 20 { 4 << 10 } else { 2 << 20 };
            let control = if size < 64 << 20 { 340 << 10 } else { 2 << 20 };
            let segment = (size + (size / 256).max(64 << 10)).next_multiple_of(page) + control;
            assert!(memory.sidecar_bytes() >= segment + (16 << 20), "{size}");
            assert!(memory.sidecar_bytes() <= segment + (22 << 20), "{size}");
        }
    }

    #[test]
    fn amounts_are_shown_in_mebibytes() {
        let memory = Memory::of_ring(500 << 20);
        assert_eq!(memory.sidecar(), "522Mi");
        assert_eq!(memory.volume(), "570Mi");
    }
}
