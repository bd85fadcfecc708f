//! [`Payload`]: the bytes that a program sends over a channel, and what is said of them.

use framebuffer::{Descriptor, Element};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::arguments::number;
use crate::buffer::{Buffer, Source};
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
    /// The bytes of `value`, with the type and shape that it has, if the program says nothing else.
    pub(crate) fn get(value: &Bound<'py, PyAny>, told: &Told<'_, 'py>) -> PyResult<Self> {
        let source = Source::get(value)?;
        let (element, shape) = match (&source, told.dtype) {
            (_, Some(_)) | (Source::Bytes(_), None) => (Element::default(), Vec::new()),
            (Source::Buffer(buffer), None) => of_buffer(value, buffer)?,
            (Source::Tensor(tensor), None) => {
                let (element, shape) = tensor.describe();
                (element, shape.to_vec())
            }
        };
        let descriptor = told.describe(element, &shape)?;
        Ok(Self { source, descriptor })
    }
}

impl Told<'_, '_> {
    /// Adds what is told to what the data itself tells.
    pub(crate) fn describe(&self, of_data: Element, shape_of_data: &[usize]) -> PyResult<Descriptor> {
        let element = self.dtype.map_or(Ok(of_data), elements::given)?;
        let shape = self.shape.map(shape).transpose()?;
        let element = if shape.is_some() && element.is_unknown() { Element::U8 } else { element };
        let described = Descriptor::new().element(element).shape(shape.as_deref().unwrap_or(shape_of_data));
        let mut descriptor = described.map_err(|error| errors::of_frame(error.into()))?;
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
fn of_buffer(value: &Bound<'_, PyAny>, buffer: &Buffer) -> PyResult<(Element, Vec<usize>)> {
    let py = value.py();
    if let Some(format) = buffer.format() {
        let element = elements::of_format(format, buffer.itemsize())?;
        return Ok(match buffer.shape() {
            // Nothing to be told, and of any length.
            Some(shape) if element == Element::U8 && shape.len() < 2 => (Element::default(), Vec::new()),
            Some(shape) => (element, at_least_one_dimension(shape)),
            None => (element, Vec::new()),
        });
    }
    let Some(dtype) = value.getattr_opt(intern!(py, "dtype"))? else { return Ok((Element::default(), Vec::new())) };
    let shape: Vec<usize> = value.getattr(intern!(py, "shape"))?.extract()?;
    Ok((elements::of_dtype(&dtype)?, at_least_one_dimension(shape)))
}

/// A shape without dimensions says nothing: a single number arrives as an array of one.
fn at_least_one_dimension(shape: Vec<usize>) -> Vec<usize> {
    if shape.is_empty() { vec![1] } else { shape }
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
