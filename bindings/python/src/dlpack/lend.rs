//! Frames as tensors.

use std::ffi::c_void;
use std::ptr::NonNull;

use framebuffer::{Descriptor, Element};
use pyo3::PyClass;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

use super::abi::{self, CPU, DataType, Device, Managed, Old, READ_ONLY, Tensor, VERSION, Versioned, content};

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
    layout: Layout,
}

/// Shape and strides are counted in elements.
struct Layout {
    element: Element,
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
    let layout = Layout::new(descriptor, len).inspect_err(|_| owner.get().end_export())?;
    let context = Box::new(Context { owner: owner.clone().unbind(), layout });
    let Layout { element, shape, strides } = &context.layout;
    let tensor = Tensor {
        data: address.cast(),
        device: Device { kind: CPU, id: 0 },
        rank: i32::try_from(shape.len()).unwrap_or(0),
        element: DataType { code: element.code, bits: element.bits, lanes: element.lanes },
        shape: shape.as_ptr(),
        strides: strides.as_ptr(),
        byte_offset: 0,
    };
    let context = Box::into_raw(context).cast();
    let py = owner.py();
    if request.max_version.is_some_and(|(major, _)| major >= VERSION.major) {
        let flags = if readonly { READ_ONLY } else { 0 };
        let end = Some(end::<Versioned, T> as abi::End<_>);
        capsule(py, Versioned { version: VERSION, context, end, flags, tensor })
    } else {
        // There is no way to say that it may only be read.
        capsule(py, Old { tensor, context, end: Some(end::<Old, T>) })
    }
}

impl Layout {
    /// That of a frame of `len` bytes.
    fn new(descriptor: &Descriptor, len: usize) -> PyResult<Self> {
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
            [] => vec![(len as u64 * 8 / bits).cast_signed()],
            dimensions if descriptor.element_type().is_unknown() => {
                return Err(PyBufferError::new_err(format!(
                    "the shape {dimensions:?} has elements of an unknown type"
                )));
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
            if !(row * 8).is_multiple_of(bits) {
                return Err(PyBufferError::new_err(format!(
                    "rows of {row} bytes are no whole number of elements of {bits} bits: take array()"
                )));
            }
            strides[0] = (row * 8 / bits).cast_signed();
        }
        Ok(Self { element, shape, strides })
    }
}

fn capsule<M: Managed>(py: Python<'_>, managed: M) -> PyResult<Bound<'_, PyAny>> {
    let managed = Box::into_raw(Box::new(managed)).cast();
    // SAFETY: we are attached; the name is static.
    let capsule = unsafe { ffi::PyCapsule_New(managed, M::NAME.as_ptr(), Some(end_unused::<M>)) };
    // SAFETY: a new reference, or null with the exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, capsule) }
}

/// Ends the use of a tensor that nobody has taken out of its capsule.
unsafe extern "C" fn end_unused<M: Managed>(capsule: *mut ffi::PyObject) {
    // SAFETY: called by the interpreter, for a capsule of ours.
    if let Some(managed) = unsafe { content::<M>(capsule) } {
        // SAFETY: it is in there, so nobody has it.
        unsafe { abi::end(managed) };
    }
}

/// Ends the use of a tensor of ours. From any thread.
unsafe extern "C" fn end<M: Managed, T: Lends>(managed: *mut M) {
    let Some(managed) = NonNull::new(managed) else { return };
    // SAFETY: called once, for a tensor that `lend` has made.
    let managed = unsafe { Box::from_raw(managed.as_ptr()) };
    let context: *mut c_void = managed.context();
    // SAFETY: as above, for this type.
    let context = unsafe { Box::from_raw(context.cast::<Context<T>>()) };
    // Not once the interpreter ends: the program does then, and its pins with it.
    Python::try_attach(move |_| {
        context.owner.get().end_export();
        drop(context);
    });
}
