//! Structs that later versions may add members to: figures for the caller, and options from the caller.
//!
//! The caller says how many bytes its header's struct has. So a program and the library may be of different versions,
//! either of them the older one.

use crate::call::{buffer, bytes};
use crate::error::Failure;

/// No struct of options ever has more bytes: more can only be a size that was not set.
const MOST: usize = 4096;

/// Options of the caller.
pub(crate) trait Options: Copy {
    /// What nobody has changed.
    const DEFAULT: Self;
    /// The macro that initialises them.
    const INITIALISER: &'static str;
}

/// The caller's options, or the default for NULL. Members that this library does not know must be 0.
///
/// # Safety
///
/// `from` is NULL, or valid for reads of as many bytes as the `size_t` there says. `T` is made of that `size_t`,
/// numbers and pointers.
pub(crate) unsafe fn options<T: Options>(from: *const T) -> Result<T, Failure> {
    if from.is_null() {
        return Ok(T::DEFAULT);
    }
    let known = size_of::<T>();
    // SAFETY: the caller guarantees it.
    let size = unsafe { from.cast::<usize>().read() };
    if !(known..=MOST).contains(&size) {
        return Err(Failure::OptionsSize { size, known, initialiser: T::INITIALISER });
    }
    // SAFETY: the caller guarantees it.
    let given = unsafe { bytes(from.cast(), size) }?;
    if let Some(at) = given[known..].iter().position(|byte| *byte != 0) {
        return Err(Failure::UnknownOption { at: known + at, known });
    }
    // SAFETY: the caller guarantees it, and there are enough bytes.
    Ok(unsafe { from.read() })
}

/// Writes the members that the caller's struct has, and zeros to members beyond.
///
/// # Safety
///
/// `to` is NULL or valid for writes of `size` bytes. `T` has no padding.
pub(crate) unsafe fn put_members<T>(name: &'static str, value: &T, to: *mut T, size: usize) -> Result<(), Failure> {
    if to.is_null() {
        return Err(Failure::Null { name });
    }
    // SAFETY: the caller guarantees it.
    let to = unsafe { buffer(to.cast(), size) }?;
    // SAFETY: a struct without padding is made of bytes.
    let from = unsafe { std::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<T>()) };
    let common = to.len().min(from.len());
    let (known, beyond) = to.split_at_mut(common);
    known.copy_from_slice(&from[..common]);
    beyond.fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Some {
        size: usize,
        number: u64,
    }

    impl Options for Some {
        const DEFAULT: Self = Self { size: size_of::<Self>(), number: 7 };
        const INITIALISER: &'static str = "SOME";
    }

    fn read(words: &[u64]) -> Result<Some, Failure> {
        // SAFETY: the first word is at most the size of the others, or refused.
        unsafe { options(words.as_ptr().cast::<Some>()) }
    }

    #[test]
    fn options_of_a_newer_header_are_taken_if_what_is_new_was_left_alone() {
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { options(std::ptr::null::<Some>()) }.unwrap().number, 7);
        assert_eq!(read(&[16, 8]).unwrap().number, 8);
        assert_eq!(read(&[24, 9, 0]).unwrap().number, 9);
        let error = read(&[24, 9, 1 << 8]).unwrap_err().to_string();
        assert!(error.contains("at byte 17") && error.contains("16 bytes"), "{error}");
    }

    #[test]
    fn options_that_nobody_has_initialised_are_refused() {
        for size in [0, 1, 15, MOST as u64 + 1, u64::MAX] {
            let error = read(&[size, 0]).unwrap_err().to_string();
            assert!(error.contains(&size.to_string()) && error.contains("SOME"), "{error}");
        }
    }
}
