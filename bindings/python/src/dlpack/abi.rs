//! The structures of DLPack, and the capsules that they come in.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use pyo3::ffi;

/// Memory of the CPU.
pub(super) const CPU: i32 = 1;
/// Memory of the CPU that a GPU can read, too.
pub(super) const CPU_PINNED: [i32; 2] = [3, 11];

/// The version of the protocol that is spoken here. Minor versions change nothing that is read here.
pub(super) const VERSION: Version = Version { major: 1, minor: 1 };
/// A flag: nobody may write to the tensor.
pub(super) const READ_ONLY: u64 = 1;

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// `DLDevice`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Device {
    pub(super) kind: i32,
    pub(super) id: i32,
}

/// `DLDataType`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct DataType {
    pub(super) code: u8,
    pub(super) bits: u8,
    pub(super) lanes: u16,
}

/// `DLTensor`.
#[repr(C)]
pub(super) struct Tensor {
    pub(super) data: *mut c_void,
    pub(super) device: Device,
    pub(super) rank: i32,
    pub(super) element: DataType,
    pub(super) shape: *const i64,
    /// In elements. Null: the rows lie one behind the other.
    pub(super) strides: *const i64,
    pub(super) byte_offset: u64,
}

/// A function that ends the use of a tensor.
pub(super) type End<M> = unsafe extern "C" fn(*mut M);

/// `DLManagedTensor`.
#[repr(C)]
pub(super) struct Old {
    pub(super) tensor: Tensor,
    pub(super) context: *mut c_void,
    pub(super) end: Option<End<Self>>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
pub(super) struct Versioned {
    pub(super) version: Version,
    pub(super) context: *mut c_void,
    pub(super) end: Option<End<Self>>,
    pub(super) flags: u64,
    pub(super) tensor: Tensor,
}

/// A tensor with the function that ends its use, of either version.
pub(super) trait Managed: Sized + 'static {
    /// The name of its capsules.
    const NAME: &CStr;
    /// Their name once the tensor was taken out: the capsule does not end its use then.
    const USED: &CStr;

    fn tensor(&self) -> &Tensor;
    fn context(&self) -> *mut c_void;
    fn end(&self) -> Option<End<Self>>;
}

impl Managed for Old {
    const NAME: &CStr = c"dltensor";
    const USED: &CStr = c"used_dltensor";

    fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    fn context(&self) -> *mut c_void {
        self.context
    }

    fn end(&self) -> Option<End<Self>> {
        self.end
    }
}

impl Managed for Versioned {
    const NAME: &CStr = c"dltensor_versioned";
    const USED: &CStr = c"used_dltensor_versioned";

    fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    fn context(&self) -> *mut c_void {
        self.context
    }

    fn end(&self) -> Option<End<Self>> {
        self.end
    }
}

/// The tensor in a capsule, which may be any object. `None` if it is not of this version, or was taken out.
///
/// # Safety
///
/// We are attached to the interpreter, and `capsule` is an object.
pub(super) unsafe fn content<M: Managed>(capsule: *mut ffi::PyObject) -> Option<NonNull<M>> {
    // SAFETY: the caller vouches for it.
    if unsafe { ffi::PyCapsule_IsValid(capsule, M::NAME.as_ptr()) } == 0 {
        return None;
    }
    // SAFETY: a capsule of this name.
    NonNull::new(unsafe { ffi::PyCapsule_GetPointer(capsule, M::NAME.as_ptr()) }.cast())
}

/// Ends the use of a tensor.
///
/// # Safety
///
/// It is valid, and is used no more.
pub(super) unsafe fn end<M: Managed>(managed: NonNull<M>) {
    // SAFETY: the caller vouches for it.
    if let Some(end) = unsafe { managed.as_ref() }.end() {
        // SAFETY: as above.
        unsafe { end(managed.as_ptr()) };
    }
}
