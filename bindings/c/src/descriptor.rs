//! [`Descriptor`]: what a writer says of a frame.

use framebuffer::{ChannelError, Element};

use crate::error::Failure;

/// Dimensions that a descriptor has room for.
const DIMENSIONS: usize = 4;

/// What a writer says of a frame: it travels with the frame. A member that is 0 says nothing.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// When the content is from, in nanoseconds of the clock that writer and reader agree on; usually since 1970.
    pub time_ns: u64,
    /// The type of the elements: FRAMEBUFFER_ELEMENT_F32, for example.
    pub element: u32,
    /// The pixel format, four characters as in V4L2 and DRM: FRAMEBUFFER_FOURCC('N', 'V', '1', '2').
    pub fourcc: u32,
    /// The number of elements in each dimension, outermost first: rows, columns, channels for an image.
    pub dims: [u32; 4],
    /// Dimensions: 0, if there is no shape, to 4.
    pub rank: u32,
    /// Always 0.
    pub reserved: u32,
    /// Bytes from the beginning of one row, an element of the outermost dimension, to that of the next. 0: the rows lie
    /// one behind the other.
    pub row_stride: u64,
    /// Eight bytes for the user.
    pub user: u64,
}

impl Descriptor {
    /// The client crate's descriptor.
    pub(crate) fn checked(&self) -> Result<framebuffer::Descriptor, Failure> {
        let Self { time_ns, element, fourcc, dims, rank, reserved: _, row_stride, user } = *self;
        let described = framebuffer::Descriptor::new()
            .time(time_ns)
            .element(Element { code: element as u8, bits: (element >> 8) as u8, lanes: (element >> 16) as u16 })
            .fourcc(fourcc.to_le_bytes())
            .stride(row_stride)
            .user(user);
        let shape = dims.map(|dimension| dimension as usize);
        let largest = u64::from(dims.into_iter().max().unwrap_or(0));
        let too_large = ChannelError::ShapeTooLarge { rank: rank as usize, largest };
        Ok(described.shape(shape.get(..rank as usize).ok_or(too_large)?)?)
    }
}

impl From<&framebuffer::Descriptor> for Descriptor {
    fn from(descriptor: &framebuffer::Descriptor) -> Self {
        let Element { code, bits, lanes } = descriptor.element_type();
        let mut dims = [0; DIMENSIONS];
        let shape = descriptor.dimensions();
        dims[..shape.len()].copy_from_slice(shape);
        Self {
            time_ns: descriptor.time_nanoseconds(),
            element: u32::from(code) | u32::from(bits) << 8 | u32::from(lanes) << 16,
            fourcc: u32::from_le_bytes(descriptor.pixel_format().0),
            dims,
            rank: shape.len() as u32,
            reserved: 0,
            row_stride: descriptor.row_stride(),
            user: descriptor.user_word(),
        }
    }
}

/// The caller's descriptor, for NULL one that says nothing.
#[inline]
pub(crate) fn described(descriptor: Option<&Descriptor>) -> Result<framebuffer::Descriptor, Failure> {
    descriptor.map_or_else(|| Ok(framebuffer::Descriptor::new()), Descriptor::checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_described_in_c_is_what_others_see_and_back() {
        let described = Descriptor {
            time_ns: 1,
            element: 0x0001_1004,
            fourcc: u32::from_le_bytes(*b"NV12"),
            dims: [2, 3, u32::MAX, 0],
            rank: 3,
            reserved: 0,
            row_stride: 1 << 40,
            user: u64::MAX,
        };
        let seen = described.checked().unwrap();
        assert_eq!((seen.element_type(), seen.dimensions()), (Element::BF16, &[2, 3, u32::MAX][..]));
        assert_eq!((seen.pixel_format().to_string().as_str(), seen.row_stride()), ("NV12", 1 << 40));
        assert_eq!(Descriptor::from(&seen), described);
    }

    #[test]
    fn a_shape_of_more_dimensions_than_there_is_room_for_is_refused() {
        let too_many = Descriptor { rank: 5, ..Descriptor::default() };
        assert!(too_many.checked().unwrap_err().to_string().starts_with("a shape of 5 dimensions"));
        assert!(Descriptor { rank: u32::MAX, ..too_many }.checked().is_err());
    }

    #[test]
    fn the_types_of_the_header_are_those_of_the_client_crate() {
        let header = include_str!("../include/framebuffer.h");
        for (name, element) in [
            ("I8", Element::I8),
            ("I16", Element::I16),
            ("I32", Element::I32),
            ("I64", Element::I64),
            ("U8", Element::U8),
            ("U16", Element::U16),
            ("U32", Element::U32),
            ("U64", Element::U64),
            ("F16", Element::F16),
            ("F32", Element::F32),
            ("F64", Element::F64),
            ("BF16", Element::BF16),
            ("COMPLEX64", Element::COMPLEX64),
            ("COMPLEX128", Element::COMPLEX128),
            ("BOOL", Element::BOOL),
        ] {
            let Element { code, bits, lanes } = element;
            let line = format!("#define FRAMEBUFFER_ELEMENT_{name} FRAMEBUFFER_ELEMENT({code}, {bits}, {lanes})\n");
            assert!(header.contains(&line), "no {line}");
        }
    }

    #[test]
    fn a_descriptor_has_the_layout_of_the_header() {
        use std::mem::offset_of;
        assert_eq!(size_of::<Descriptor>(), 56);
        assert_eq!([offset_of!(Descriptor, element), offset_of!(Descriptor, fourcc)], [8, 12]);
        assert_eq!([offset_of!(Descriptor, dims), offset_of!(Descriptor, rank)], [16, 32]);
        assert_eq!([offset_of!(Descriptor, row_stride), offset_of!(Descriptor, user)], [40, 48]);
    }
}
