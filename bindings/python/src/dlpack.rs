//! Tensors in and out by DLPack, the protocol by which array libraries share memory: `__dlpack__` makes a capsule with
//! the address, type, shape and strides of a tensor, and a function that ends its use.
//!
//! Source: `dlpack.h` 1.1, and <https://dmlc.github.io/dlpack/latest/python_spec.html>.

use std::ffi::{CStr, c_void};
use std::ptr;

use framebuffer::{Descriptor, Element};
use pyo3::PyClass;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyDict;
use pyo3::{ffi, intern};

use crate::errors::not_contiguous;

/// Memory of the CPU.
const CPU: i32 = 1;
/// Memory of the CPU that a GPU can read, too.
const CPU_PINNED: [i32; 2] = [3, 11];

/// The version of the protocol that is spoken here. Minor versions change nothing that is read here.
const VERSION: Version = Version { major: 1, minor: 1 };
const READ_ONLY: u64 = 1;

const NAME: &CStr = c"dltensor";
const NAME_VERSIONED: &CStr = c"dltensor_versioned";
/// The name of a capsule whose tensor is taken: who made it does not end its use.
const USED: &CStr = c"used_dltensor";
const USED_VERSIONED: &CStr = c"used_dltensor_versioned";

#[repr(C)]
#[derive(Clone, Copy)]
struct Version {
    major: u32,
    minor: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Device {
    kind: i32,
    id: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

/// `DLTensor`.
#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: Device,
    rank: i32,
    element: DataType,
    shape: *const i64,
    /// In elements. Null: the rows lie one behind the other.
    strides: *const i64,
    byte_offset: u64,
}

/// `DLManagedTensor`.
#[repr(C)]
struct Managed {
    tensor: Tensor,
    context: *mut c_void,
    end: Option<unsafe extern "C" fn(*mut Managed)>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
struct Versioned {
    version: Version,
    context: *mut c_void,
    end: Option<unsafe extern "C" fn(*mut Versioned)>,
    flags: u64,
    tensor: Tensor,
}

/// A tensor of another library, in the CPU's memory and without gaps, until this is dropped.
pub(crate) struct Borrowed {
    _managed: AnyManaged,
    /// Not read, but for its address: others may write to it.
    address: *mut u8,
    len: usize,
    element: Element,
    shape: Vec<usize>,
}

enum AnyManaged {
    Old(*mut Managed),
    Versioned(*mut Versioned),
}

/// Whether `value` takes part in the protocol.
pub(crate) fn is_tensor(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.hasattr(intern!(value.py(), "__dlpack__"))
}

impl Borrowed {
    /// Borrows a tensor.
    pub(crate) fn get(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = value.py();
        let (kind, _): (i32, i32) = value.call_method0(intern!(py, "__dlpack_device__"))?.extract()?;
        if kind != CPU && !CPU_PINNED.contains(&kind) {
            return Err(PyBufferError::new_err(format!(
                "the tensor is in the memory of a device (DLPack's type {kind}): copy it to the CPU's first"
            )));
        }
        let name = intern!(py, "__dlpack__");
        let arguments = PyDict::new(py);
        arguments.set_item(intern!(py, "max_version"), (VERSION.major, VERSION.minor))?;
        let capsule = match value.call_method(name, (), Some(&arguments)) {
            // It does not know of versions.
            Err(error) if error.is_instance_of::<PyTypeError>(py) => value.call_method0(name)?,
            made => made?,
        };
        let managed = take(&capsule)?;
        // SAFETY: the tensor is valid until its use ends, which is when `managed` is dropped.
        unsafe { Self::of(managed) }
    }

    unsafe fn of(managed: AnyManaged) -> PyResult<Self> {
        let tensor = match &managed {
            // SAFETY: the caller vouches for it.
            AnyManaged::Old(managed) => unsafe { &(**managed).tensor },
            AnyManaged::Versioned(managed) => unsafe { &(**managed).tensor },
        };
        let rank = usize::try_from(tensor.rank).unwrap_or(0);
        let dimensions = |from: *const i64| {
            // SAFETY: the protocol promises `rank` numbers there.
            (rank > 0 && !from.is_null()).then(|| unsafe { std::slice::from_raw_parts(from, rank) }.to_vec())
        };
        let shape: Option<Vec<usize>> =
            dimensions(tensor.shape).unwrap_or_default().into_iter().map(|of| usize::try_from(of).ok()).collect();
        let DataType { code, bits, lanes } = tensor.element;
        let element = Element { code, bits, lanes };
        let bytes = |shape: &[usize]| {
            let elements = shape.iter().try_fold(1_usize, |product, of| product.checked_mul(*of))?;
            Some(elements.checked_mul(usize::try_from(element.total_bits()).ok()?)?.div_ceil(8))
        };
        let (shape, len) = shape
            .and_then(|shape| bytes(&shape).map(|len| (shape, len)))
            .ok_or_else(|| PyBufferError::new_err("the tensor's shape is out of bounds"))?;
        if dimensions(tensor.strides).is_some_and(|strides| !is_contiguous(&shape, &strides)) {
            return Err(not_contiguous());
        }
        let address = tensor.data.cast::<u8>().wrapping_add(tensor.byte_offset as usize);
        Ok(Self { _managed: managed, address, len, element, shape })
    }

    /// The address of its first byte.
    pub(crate) fn address(&self) -> *mut u8 {
        self.address
    }

    /// The number of its bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The type of its elements, and its shape.
    pub(crate) fn describe(&self) -> (Element, &[usize]) {
        (self.element, &self.shape)
    }
}

impl Drop for AnyManaged {
    fn drop(&mut self) {
        // SAFETY: this ends the use of a tensor that was taken, once. We are attached, as whoever made it may expect.
        Python::attach(|_| unsafe {
            match *self {
                Self::Old(managed) => {
                    if let Some(end) = (*managed).end {
                        end(managed);
                    }
                }
                Self::Versioned(managed) => {
                    if let Some(end) = (*managed).end {
                        end(managed);
                    }
                }
            }
        });
    }
}

/// Takes the tensor out of a capsule.
fn take(capsule: &Bound<'_, PyAny>) -> PyResult<AnyManaged> {
    // SAFETY: these take any object, and tell whether it is a capsule of this name.
    let pointer = |name: &CStr, used: &CStr| unsafe {
        if ffi::PyCapsule_IsValid(capsule.as_ptr(), name.as_ptr()) == 0 {
            return None;
        }
        let pointer = ffi::PyCapsule_GetPointer(capsule.as_ptr(), name.as_ptr());
        (ffi::PyCapsule_SetName(capsule.as_ptr(), used.as_ptr()) == 0).then_some(pointer)
    };
    if let Some(versioned) = pointer(NAME_VERSIONED, USED_VERSIONED) {
        let managed = AnyManaged::Versioned(versioned.cast());
        // SAFETY: a versioned tensor begins with its version, whatever that is.
        let version = unsafe { (*versioned.cast::<Versioned>()).version };
        if version.major != VERSION.major {
            return Err(PyBufferError::new_err(format!(
                "the tensor is of version {}.{} of DLPack; this library reads {}",
                version.major, version.minor, VERSION.major
            )));
        }
        return Ok(managed);
    }
    let old = pointer(NAME, USED).ok_or_else(|| PyTypeError::new_err("__dlpack__ made no capsule with a tensor"))?;
    Ok(AnyManaged::Old(old.cast()))
}

fn is_contiguous(shape: &[usize], strides: &[i64]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(of, stride)| {
        let fits = *of == 1 || *stride == expected;
        expected = expected.saturating_mul(i64::try_from(*of).unwrap_or(i64::MAX));
        fits
    })
}

/// An object whose bytes in the ring are lent to tensors.
pub(crate) trait Lends: PyClass<Frozen = True> + Send + Sync {
    /// Counts one more tensor: the address and number of the bytes.
    fn begin_export(&self) -> PyResult<(*mut u8, usize)>;

    /// A tensor is no more.
    fn end_export(&self);
}

/// What `__dlpack__` is asked for. All may be left out.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) max_version: Option<(u32, u32)>,
    pub(crate) device: Option<(i32, i32)>,
    pub(crate) copy: Option<bool>,
}

/// Where tensors of the ring are, for `__dlpack_device__`.
pub(crate) const fn device() -> (i32, i32) {
    (CPU, 0)
}

/// What a tensor of ours keeps until its use ends.
struct Context<T: Lends> {
    owner: Py<T>,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

/// Lends the bytes of `owner` to a tensor, in a capsule.
pub(crate) fn lend<'py, T: Lends>(
    owner: &Bound<'py, T>,
    request: Request,
    descriptor: &Descriptor,
    readonly: bool,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(device) = request.device.filter(|(kind, _)| *kind != CPU) {
        return Err(PyBufferError::new_err(format!("the frame is in the CPU's memory, (1, 0), and not in {device:?}")));
    }
    if request.copy == Some(true) {
        return Err(PyBufferError::new_err("the frame is lent as it is, without a copy: copy the tensor"));
    }
    let (address, len) = owner.get().begin_export()?;
    let made = layout(descriptor, len).and_then(|(element, shape, strides)| {
        let context = Box::new(Context { owner: owner.clone().unbind(), shape, strides });
        let tensor = Tensor {
            data: address.cast(),
            device: Device { kind: CPU, id: 0 },
            rank: i32::try_from(context.shape.len()).unwrap_or(0),
            element: DataType { code: element.code, bits: element.bits, lanes: element.lanes },
            shape: context.shape.as_ptr(),
            strides: context.strides.as_ptr(),
            byte_offset: 0,
        };
        Ok((tensor, context))
    });
    let (tensor, context) = made.inspect_err(|_| owner.get().end_export())?;
    let context = Box::into_raw(context).cast();
    let py = owner.py();
    if request.max_version.is_some_and(|(major, _)| major >= VERSION.major) {
        let flags = if readonly { READ_ONLY } else { 0 };
        let managed = Versioned { version: VERSION, context, end: Some(end_versioned::<T>), flags, tensor };
        capsule(py, Box::into_raw(Box::new(managed)).cast(), NAME_VERSIONED, drop_versioned)
    } else {
        // There is no way to say that it may only be read.
        let managed = Managed { tensor, context, end: Some(end_old::<T>) };
        capsule(py, Box::into_raw(Box::new(managed)).cast(), NAME, drop_old)
    }
}

/// Type, shape and strides (in elements) of a frame of `len` bytes.
fn layout(descriptor: &Descriptor, len: usize) -> PyResult<(Element, Vec<i64>, Vec<i64>)> {
    descriptor.check(len as u64).map_err(|error| PyBufferError::new_err(error.to_string()))?;
    let element = match descriptor.element_type() {
        unknown if unknown.is_unknown() => Element::U8,
        own if own.code >= 128 || own.code == 3 => {
            return Err(PyBufferError::new_err(format!("DLPack has no elements of the type {own}: take array()")));
        }
        element => element,
    };
    let bits = element.total_bits();
    let shape: Vec<i64> = match descriptor.dimensions() {
        [] => vec![(len as u64 * 8 / bits) as i64],
        dimensions if descriptor.element_type().is_unknown() => {
            return Err(PyBufferError::new_err(format!("the shape {dimensions:?} has elements of an unknown type")));
        }
        dimensions => dimensions.iter().map(|of| i64::from(*of)).collect(),
    };
    let mut strides = vec![1_i64; shape.len()];
    for place in (1..shape.len()).rev() {
        // Beyond 64 bits only if there are no elements at all.
        strides[place - 1] = strides[place].saturating_mul(shape[place].max(1));
    }
    let row = descriptor.row_stride();
    if row != 0 && shape[0] > 1 {
        // Two rows and more lie in the frame, so this is no larger than that.
        if (row * 8) % bits != 0 {
            return Err(PyBufferError::new_err(format!(
                "rows of {row} bytes are no whole number of elements of {bits} bits: take array()"
            )));
        }
        strides[0] = (row * 8 / bits) as i64;
    }
    Ok((element, shape, strides))
}

type Destructor = unsafe extern "C" fn(*mut ffi::PyObject);

fn capsule<'py>(
    py: Python<'py>,
    managed: *mut c_void,
    name: &'static CStr,
    destructor: Destructor,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: we are attached; the name is static. A new reference, or null with the exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyCapsule_New(managed, name.as_ptr(), Some(destructor))) }
}

/// Ends the use of a tensor that nobody has taken out of its capsule.
unsafe extern "C" fn drop_old(capsule: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter, for a capsule of ours.
    unsafe {
        let managed = unused(capsule, NAME).cast::<Managed>();
        if let Some(end) = managed.as_mut().and_then(|managed| managed.end) {
            end(managed);
        }
    }
}

unsafe extern "C" fn drop_versioned(capsule: *mut ffi::PyObject) {
    // SAFETY: as in `drop_old`.
    unsafe {
        let managed = unused(capsule, NAME_VERSIONED).cast::<Versioned>();
        if let Some(end) = managed.as_mut().and_then(|managed| managed.end) {
            end(managed);
        }
    }
}

unsafe fn unused(capsule: *mut ffi::PyObject, name: &CStr) -> *mut c_void {
    // SAFETY: the caller vouches for the capsule.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, name.as_ptr()) == 0 {
            return ptr::null_mut();
        }
        ffi::PyCapsule_GetPointer(capsule, name.as_ptr())
    }
}

unsafe extern "C" fn end_old<T: Lends>(managed: *mut Managed) {
    // SAFETY: called once, for a tensor made by `lend`.
    unsafe {
        let managed = Box::from_raw(managed);
        end_use::<T>(managed.context);
    }
}

unsafe extern "C" fn end_versioned<T: Lends>(managed: *mut Versioned) {
    // SAFETY: as in `end_old`.
    unsafe {
        let managed = Box::from_raw(managed);
        end_use::<T>(managed.context);
    }
}

/// # Safety
///
/// `context` was made by `lend` for this type, and is used no more.
unsafe fn end_use<T: Lends>(context: *mut c_void) {
    // SAFETY: the caller vouches for it.
    let context = unsafe { Box::from_raw(context.cast::<Context<T>>()) };
    // From any thread. Not once the interpreter ends: the program does then, and its pins with it.
    Python::try_attach(move |_| {
        context.owner.get().end_export();
        drop(context);
    });
}
