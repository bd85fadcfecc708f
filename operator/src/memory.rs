//! [`Memory`]: the memory that a ring of a given size costs its pod.

use framebuffer_contract::segment::LARGEST_PAGE;
use framebuffer_contract::{InvalidSize, segment_length};

const MIB: u64 = 1 << 20;

/// The sidecar's own memory beside the ring: it stays below 6 MiB, a probe runs a second process of it, and the rest is
/// room.
const SIDECAR_MIB: u64 = 18;

/// The size of a container's own `/dev/shm`, and some room: whatever a program kept there still fits beside the ring.
const SPARE_MIB: u64 = 66;

/// The memory that a ring of a given size costs its pod. All amounts are whole MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    segment_mib: u64,
}

impl Memory {
    /// Of a ring that keeps `size` bytes. A node may have other pages than this machine, so the largest count.
    ///
    /// # Errors
    ///
    /// No ring can have this size.
    pub fn of_ring(size: u64) -> Result<Self, InvalidSize> {
        Ok(Self { segment_mib: segment_length(size, LARGEST_PAGE)?.div_ceil(MIB) })
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
            let memory = Memory::of_ring(size).unwrap();
            let segment = segment_length(size, 4 << 10).unwrap();
            assert!(memory.sidecar_bytes() >= segment + (16 << 20), "{size}");
            assert!(memory.sidecar_bytes() <= segment + (22 << 20), "{size}");
        }
    }

    #[test]
    fn amounts_are_shown_in_mebibytes() {
        let memory = Memory::of_ring(500 << 20).unwrap();
        assert_eq!(memory.sidecar(), "522Mi");
        assert_eq!(memory.volume(), "570Mi");
    }
}
