//! [`Descriptor`]: what a writer says of a frame, and its words in front of the frame's header.

use std::fmt;

use super::element::Element;
use crate::error::channel::ChannelError;
use crate::layout::DescriptorWords;
use crate::sync::Ordering;

/// Dimensions that a descriptor has room for.
const DIMENSIONS: usize = 4;

/// What a writer says of a frame: it travels with the frame, and is empty unless the writer fills it in.
///
/// ```
/// use framebuffer::{Descriptor, Element};
///
/// let image = Descriptor::new().shape(&[1080, 1920, 3])?.element(Element::U8).time(1_764_115_200_000_000_000);
/// assert_eq!(image.dimensions(), [1080, 1920, 3]);
/// # Ok::<(), framebuffer::ChannelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "a descriptor says nothing before it is sent with a frame"]
pub struct Descriptor {
    time: u64,
    element: Element,
    dimensions: [u32; DIMENSIONS],
    rank: u32,
    stride: u64,
    fourcc: FourCc,
    user: u64,
}

/// Four characters that name a pixel format, as in V4L2 and DRM: `NV12`, `YUYV`. All zeros: none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FourCc(pub [u8; 4]);

impl FourCc {
    /// Whether there is none.
    pub const fn is_none(self) -> bool {
        u32::from_le_bytes(self.0) == 0
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() { Ok(()) } else { write!(f, "{}", self.0.escape_ascii()) }
    }
}

impl Descriptor {
    /// An empty descriptor.
    pub fn new() -> Self {
        Self::default()
    }

    /// When the frame's content is from, in nanoseconds of the clock that writer and reader agree on. Usually since
    /// 1970. 0: not known.
    pub fn time(mut self, nanoseconds: u64) -> Self {
        self.time = nanoseconds;
        self
    }

    /// The type of the elements.
    pub fn element(mut self, element: Element) -> Self {
        self.element = element;
        self
    }

    /// The number of elements in each dimension, outermost first: rows, columns, channels for an image.
    ///
    /// # Errors
    ///
    /// [`ChannelError::ShapeTooLarge`]: more than 4 dimensions, or one of more than 2^32 - 1.
    pub fn shape(mut self, dimensions: &[usize]) -> Result<Self, ChannelError> {
        let too_large = || ChannelError::ShapeTooLarge {
            rank: dimensions.len(),
            largest: dimensions.iter().copied().max().unwrap_or(0) as u64,
        };
        if dimensions.len() > DIMENSIONS {
            return Err(too_large());
        }
        self.dimensions = [0; DIMENSIONS];
        for (to, from) in self.dimensions.iter_mut().zip(dimensions) {
            *to = u32::try_from(*from).map_err(|_| too_large())?;
        }
        self.rank = dimensions.len() as u32;
        Ok(self)
    }

    /// Bytes from the beginning of one row, an element of the outermost dimension, to that of the next. 0: the rows lie
    /// one behind the other.
    pub fn stride(mut self, bytes: u64) -> Self {
        self.stride = bytes;
        self
    }

    /// The pixel format.
    pub fn fourcc(mut self, fourcc: [u8; 4]) -> Self {
        self.fourcc = FourCc(fourcc);
        self
    }

    /// Eight bytes for the user.
    pub fn user(mut self, word: u64) -> Self {
        self.user = word;
        self
    }

    /// When the frame's content is from, as the writer says: see [`time`](Self::time). 0: not known.
    pub fn time_nanoseconds(&self) -> u64 {
        self.time
    }

    /// The type of the elements.
    pub fn element_type(&self) -> Element {
        self.element
    }

    /// The number of elements in each dimension, outermost first. Empty if the writer has not told.
    pub fn dimensions(&self) -> &[u32] {
        &self.dimensions[..self.rank as usize]
    }

    /// Bytes from one row to the next. 0: the rows lie one behind the other.
    pub fn row_stride(&self) -> u64 {
        self.stride
    }

    /// The pixel format.
    pub fn pixel_format(&self) -> FourCc {
        self.fourcc
    }

    /// The user's eight bytes.
    pub fn user_word(&self) -> u64 {
        self.user
    }

    /// Bytes that the shape takes, with the gaps between the rows: the least that the frame has. `None` without a shape
    /// or a type.
    pub fn size(&self) -> Option<u64> {
        let [rows, inner @ ..] = self.dimensions() else { return None };
        let bits = self.element.total_bits();
        if bits == 0 {
            return None;
        }
        let elements = inner.iter().try_fold(1_u64, |product, by| product.checked_mul(u64::from(*by)));
        let size = elements.and_then(|elements| {
            if self.stride == 0 {
                let all = elements.checked_mul(u64::from(*rows))?.checked_mul(bits)?;
                return Some(all.div_ceil(8));
            }
            let row = elements.checked_mul(bits)?.div_ceil(8);
            let before = u64::from(*rows).saturating_sub(1).checked_mul(self.stride)?;
            if *rows == 0 { Some(0) } else { before.checked_add(row) }
        });
        Some(size.unwrap_or(u64::MAX))
    }

    /// Checks that a frame of `size` bytes has the bytes that the shape takes: as many exactly, or more if a stride or
    /// a pixel format says that there is more to it than the shape tells. Without a shape or a type anything fits.
    ///
    /// # Errors
    ///
    /// [`ChannelError::ShapeDiffers`].
    pub fn check(&self, size: u64) -> Result<(), ChannelError> {
        let Some(needed) = self.size() else { return Ok(()) };
        let may_be_larger = self.stride != 0 || !self.fourcc.is_none();
        if needed == size || (may_be_larger && needed < size) {
            return Ok(());
        }
        let (shape, bits) = (self.dimensions().to_vec(), self.element.total_bits());
        Err(ChannelError::ShapeDiffers { shape, bits, needed, size })
    }

    /// Stores it. Nobody reads the words before the frame is committed.
    #[inline]
    pub(crate) fn store(&self, to: &DescriptorWords) {
        let Self { time, element, dimensions: [d0, d1, d2, d3], rank, stride, fourcc, user } = *self;
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let words = [
            time,
            u64::from(element.code) | u64::from(element.bits) << 8 | u64::from(element.lanes) << 16,
            pair(d0, d1),
            pair(d2, d3),
            stride,
            pair(u32::from_le_bytes(fourcc.0), rank),
            user,
        ];
        for (to, word) in to.description.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
    }

    /// Loads it. Whatever the words are, the result is a descriptor.
    #[inline]
    pub(crate) fn load(from: &DescriptorWords) -> Self {
        let [time, element, d01, d23, stride, fourcc, user] =
            from.description.each_ref().map(|word| word.load(Ordering::Relaxed));
        let halves = |word: u64| [word as u32, (word >> 32) as u32];
        let ([d0, d1], [d2, d3], [fourcc, rank]) = (halves(d01), halves(d23), halves(fourcc));
        Self {
            time,
            element: Element { code: element as u8, bits: (element >> 8) as u8, lanes: (element >> 16) as u16 },
            dimensions: [d0, d1, d2, d3],
            rank: rank.min(DIMENSIONS as u32),
            stride,
            fourcc: FourCc(fourcc.to_le_bytes()),
            user,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let all = Descriptor::new().time(1).element(Element { code: 2, bits: 16, lanes: 300 }).stride(1 << 40);
        let all = all.shape(&[1, 2, 3, u32::MAX as usize]).expect("four").fourcc(*b"NV12").user(u64::MAX);
        for descriptor in [all, Descriptor::new(), all.shape(&[7]).expect("one")] {
            let words = DescriptorWords::default();
            descriptor.store(&words);
            assert_eq!(Descriptor::load(&words), descriptor);
        }
    }

    #[test]
    fn whatever_was_scribbled_is_a_descriptor() {
        let words = DescriptorWords::default();
        words.description.iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
        let scribbled = Descriptor::load(&words);
        assert_eq!(scribbled.dimensions(), [u32::MAX; 4]);
        scribbled.check(1).expect_err("too large");
        assert_eq!(scribbled.pixel_format().to_string(), r"\xff\xff\xff\xff");
    }

    #[test]
    fn a_frame_has_the_bytes_that_its_shape_takes() {
        let image = Descriptor::new().element(Element::U8).shape(&[480, 640, 3]).expect("three");
        assert_eq!(image.check(480 * 640 * 3), Ok(()));
        let error = image.check(480 * 640).expect_err("one channel").to_string();
        assert!(
            error.contains("307200 bytes") && error.contains("[480, 640, 3]") && error.contains("921600"),
            "{error}"
        );
        image.check(480 * 640 * 3 + 1).expect_err("a byte more");
        assert_eq!(image.fourcc(*b"RGB3").check(480 * 640 * 3 + 1), Ok(()));
        assert_eq!(image.stride(2048).check(479 * 2048 + 640 * 3), Ok(()));
        image.stride(2048).check(479 * 2048 + 640 * 3 - 1).expect_err("a byte less");
        assert_eq!(image.shape(&[]).and_then(|any| any.check(1)), Ok(()));
        assert_eq!(Descriptor::new().shape(&[5]).and_then(|any| any.check(1)), Ok(()));
        // Elements of four bits, two to a byte.
        let packed = Descriptor::new().element(Element::new(1, 4)).shape(&[3]).expect("one");
        assert_eq!(packed.check(2), Ok(()));
    }

    #[test]
    fn a_shape_that_has_no_room_is_refused() {
        let error = Descriptor::new().shape(&[1, 2, 3, 4, 5]).expect_err("five dimensions").to_string();
        assert!(error.starts_with("a shape of 5 dimensions, the largest 5: 4 dimensions"), "{error}");
        Descriptor::new().shape(&[1 << 32]).expect_err("too large");
    }
}
