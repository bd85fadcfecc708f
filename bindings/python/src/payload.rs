//! [`Payload`]: the bytes that a program sends over a channel, and what is said of them.

use framebuffer::{ChannelError, Descriptor, Element};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::arguments::number;
use crate::buffer::{Buffer, Source};
use crate::sample::Sample;
use crate::{elements, errors};

/// Something to send.
pub(crate) struct Payload<'py> {
    pub(crate) source: Source<'py>,
    pub(crate) descriptor: Descriptor,
}

/// What a program says of a frame, by arguments.
#[derive(Default)]
pub(crate) struct Told<'a, 'py> {
    pub(crate) time: Option<&'a Bound<'py, PyAny>>,
    pub(crate) shape: Option<&'a Bound<'py, PyAny>>,
    pub(crate) dtype: Option<&'a Bound<'py, PyAny>>,
    pub(crate) row_stride: Option<&'a Bound<'py, PyAny>>,
    pub(crate) fourcc: Option<&'a str>,
    pub(crate) user: Option<&'a Bound<'py, PyAny>>,
}

impl<'py> Payload<'py> {
    /// The bytes of `value`, with the type and shape that it has, and all that is said of a sample, if the program says
    /// nothing else.
    pub(crate) fn get(value: &Bound<'py, PyAny>, told: &Told<'_, 'py>) -> PyResult<Self> {
        let source = Source::get(value)?;
        let of_data = match &source {
            Source::Buffer(_) if let Ok(sample) = value.cast::<Sample>() => *sample.get().descriptor(),
            // Whatever they are is not asked for.
            _ if told.dtype.is_some() => Descriptor::new(),
            Source::Bytes(_) => Descriptor::new(),
            Source::Buffer(buffer) => of_buffer(value, buffer)?,
            Source::Tensor(tensor) => {
                let (element, shape) = tensor.describe();
                describe(element, shape)?
            }
        };
        Ok(Self { descriptor: told.describe(of_data)?, source })
    }
}

/// A type and a shape. One without dimensions says nothing: a single number arrives as an array of one.
fn describe(element: Element, shape: &[usize]) -> PyResult<Descriptor> {
    Descriptor::new().element(element).shape(if shape.is_empty() { &[1] } else { shape }).map_err(refused)
}

fn refused(error: ChannelError) -> PyErr {
    errors::of_frame(error.into())
}

impl Told<'_, '_> {
    /// Adds what is told to what the data itself tells. A type alone is that of a row of elements.
    pub(crate) fn describe(&self, of_data: Descriptor) -> PyResult<Descriptor> {
        let mut descriptor = of_data;
        if let Some(dtype) = self.dtype {
            descriptor = descriptor.element(elements::given(dtype)?).shape(&[]).map_err(refused)?.stride(0);
        }
        if let Some(told) = self.shape {
            let element = descriptor.element_type();
            let element = if element.is_unknown() { Element::U8 } else { element };
            descriptor = descriptor.element(element).shape(&shape(told)?).map_err(refused)?.stride(0);
        }
        if let Some(time) = self.time {
            descriptor = descriptor.time(number(time, "time")?);
        }
        if let Some(stride) = self.row_stride {
            descriptor = descriptor.stride(number(stride, "row_stride")?);
        }
        if let Some(fourcc) = self.fourcc {
            let bytes = fourcc.as_bytes().try_into().ok().filter(|bytes: &[u8; 4]| bytes.is_ascii());
            let wrong = || PyValueError::new_err(format!("fourcc must be four ASCII characters, not {fourcc:?}"));
            descriptor = descriptor.fourcc(bytes.ok_or_else(wrong)?);
        }
        if let Some(word) = self.user {
            descriptor = descriptor.user(number(word, "user")?);
        }
        Ok(descriptor)
    }
}

/// The type of a buffer's elements, and its shape.
fn of_buffer(value: &Bound<'_, PyAny>, buffer: &Buffer) -> PyResult<Descriptor> {
    let py = value.py();
    if let Some(format) = buffer.format() {
        let element = elements::of_format(format, buffer.itemsize())?;
        return match buffer.shape() {
            // Nothing to be told, and of any length.
            Some(shape) if element == Element::U8 && shape.len() < 2 => Ok(Descriptor::new()),
            Some(shape) => describe(element, &shape),
            None => Ok(Descriptor::new().element(element)),
        };
    }
    let Some(dtype) = value.getattr_opt(intern!(py, "dtype"))? else { return Ok(Descriptor::new()) };
    let shape: Vec<usize> = value.getattr(intern!(py, "shape"))?.extract()?;
    describe(elements::of_dtype(&dtype)?, &shape)
}

/// A shape in an argument.
fn shape(value: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    value.extract().map_err(|error: PyErr| {
        let py = value.py();
        if error.is_instance_of::<PyOverflowError>(py) || error.is_instance_of::<PyValueError>(py) {
            PyValueError::new_err(format!("shape must be whole numbers from 0 on, not {}", beginning(value)))
        } else if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(format!("shape must be a sequence of whole numbers, not {}", beginning(value)))
        } else {
            error
        }
    })
}

fn beginning(value: &Bound<'_, PyAny>) -> String {
    value.str().map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().chars().take(40).collect())
}
