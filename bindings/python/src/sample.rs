//! `Sample`: a frame that was received: a view, an array or a tensor, and what was said of it.

use framebuffer::{Descriptor, Sample as RustSample};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::array;
use crate::dlpack::{self, Request};
use crate::lender::Words;
use crate::owned::Owned;
use crate::view::View;

const WORDS: Words = Words { noun: "sample", released: "the sample is released" };

/// A frame that was received: `array()`, or a `View` of its bytes, and what was said of it. Copy what you keep for
/// long: until the sample is released, allocations skip the frame.
#[pyclass(frozen, extends = View, module = "framebuffer")]
pub(crate) struct Sample {
    number: u64,
    time: u64,
    committed: u64,
    descriptor: Descriptor,
}

impl Sample {
    /// What was said of it.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
}

/// A sample that is yet to become an object: that takes the interpreter, which may run other code meanwhile.
pub(crate) struct Received(pub(crate) Owned<RustSample<'static>>);

impl<'py> IntoPyObject<'py> for Received {
    type Target = Sample;
    type Output = Bound<'py, Sample>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, Sample>> {
        let Self(sample) = self;
        let (number, time, committed) = (sample.number(), sample.time(), sample.committed());
        let this = Sample { number, time, committed, descriptor: *sample.descriptor() };
        let view = View::new(WORDS, sample.map(RustSample::into_view));
        Bound::new(py, PyClassInitializer::from(view).add_subclass(this))
    }
}

#[pymethods]
impl Sample {
    /// The frame as an array of numpy in the ring itself, read-only, of the type and shape that the publisher has said;
    /// without them, one of bytes. As long as the array lives, the frame is not overwritten.
    ///
    /// Raises:
    ///     ValueError: If the sample is released, or its bytes are no whole number of elements.
    ///     TypeError: If numpy has no such elements.
    ///     ImportError: If numpy, or ml_dtypes for bfloat16 and smaller, is not installed.
    fn array<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        array::of(slf.as_any(), &slf.get().descriptor, slf.as_super().get().size()?)
    }

    /// The frame as a tensor, by DLPack: `torch.from_dlpack(sample)`, say. Who does not know of read-only tensors gets
    /// one that must not be written to.
    #[pyo3(signature = (*, stream = None, max_version = None, dl_device = None, copy = None))]
    fn __dlpack__<'py>(
        slf: &Bound<'py, Self>,
        stream: Option<&Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // The CPU has none.
        let _ = stream;
        dlpack::lend(slf.as_super(), Request { max_version, device: dl_device, copy }, &slf.get().descriptor, true)
    }

    /// `(1, 0)`: the CPU.
    #[expect(clippy::unused_self, reason = "a method in Python")]
    fn __dlpack_device__(&self) -> (i32, i32) {
        dlpack::device()
    }

    /// Its sequence number in the channel, from 0 on.
    #[getter]
    fn number(&self) -> u64 {
        self.number
    }

    /// When its content is from, in nanoseconds, as the publisher says; when it was sent, if it says nothing.
    #[getter]
    fn time(&self) -> u64 {
        self.time
    }

    /// When it was sent, in nanoseconds since 1970.
    #[getter]
    fn committed(&self) -> u64 {
        self.committed
    }

    /// The number of elements in each dimension; `None` if the publisher has not said.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        match self.descriptor.dimensions() {
            [] => Ok(None),
            dimensions => PyTuple::new(py, dimensions).map(Some),
        }
    }

    /// The name of the elements' type, `"uint8"` say; `None` if the publisher has not said.
    #[getter]
    fn dtype(&self) -> Option<String> {
        let element = self.descriptor.element_type();
        (!element.is_unknown()).then(|| element.to_string())
    }

    /// Bytes from one row to the next; 0 if the rows lie one behind the other.
    #[getter]
    fn row_stride(&self) -> u64 {
        self.descriptor.row_stride()
    }

    /// The pixel format, `"NV12"` say; `None` if the publisher has not said.
    #[getter]
    fn fourcc(&self) -> Option<String> {
        let fourcc = self.descriptor.pixel_format();
        (!fourcc.is_none()).then(|| fourcc.to_string())
    }

    /// The publisher's own word of 64 bits.
    #[getter]
    fn user(&self) -> u64 {
        self.descriptor.user_word()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (this, view) = (slf.get(), slf.as_super());
        let shape = match this.descriptor.dimensions() {
            [] => String::new(),
            dimensions => format!(", {} {dimensions:?}", this.descriptor.element_type()),
        };
        let (size, released) = (view.len()?, view.get().released_or_not());
        Ok(format!("<Sample {} of {size} bytes{shape}{released}>", this.number))
    }
}
