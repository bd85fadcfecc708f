//! Helpers of all functions: they stop panics and check arguments.

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use crate::error::{Failure, Status, remember};

/// Runs a function's body. An error becomes its status, and its message is kept for this thread; a panic becomes
/// [`Status::Internal`].
#[inline]
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    // The body borrows a ring's words, which are atomics and valid after every step, and the caller's variables, which
    // are written last.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(failure)) => remember(&failure),
        Err(_) => remember(&Failure::Panic),
    }
}

/// The handle or struct behind a pointer, an error for NULL.
#[inline]
pub(crate) fn present<T>(name: &'static str, pointer: Option<T>) -> Result<T, Failure> {
    pointer.ok_or(Failure::Null { name })
}

/// The caller's variable for a result. Check it before doing anything, so that no result is lost.
#[inline]
pub(crate) fn out<T>(name: &'static str, pointer: *mut T) -> Result<Out<T>, Failure> {
    if pointer.is_null() { Err(Failure::Null { name }) } else { Ok(Out(pointer)) }
}

/// A variable of the caller's that is not NULL.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes the result.
    ///
    /// # Safety
    ///
    /// The pointer is valid for writing a `T`, and aligned.
    #[inline]
    pub(crate) unsafe fn put(&self, value: T) {
        // SAFETY: the caller guarantees it.
        unsafe { self.0.write(value) }
    }
}

/// A handle that is for one thread at a time. A second thread gets an error instead of waiting: in a child of fork() it
/// would wait for a thread that is not there.
#[inline]
pub(crate) fn alone<'m, T>(handle: &'static str, mutex: &'m Mutex<T>) -> Result<MutexGuard<'m, T>, Failure> {
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        // A call that panicked has told so; what it left behind is valid.
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Failure::Busy { handle }),
    }
}

/// A time of the caller's in milliseconds, below 0 for ever.
#[inline]
pub(crate) fn milliseconds(time: i64) -> Duration {
    u64::try_from(time).map_or(Duration::MAX, Duration::from_millis)
}

/// The caller's bytes to read.
///
/// # Safety
///
/// `data` is NULL, or valid for reads of `size` bytes for `'a`, and no one writes to them meanwhile.
#[inline]
pub(crate) unsafe fn bytes<'a>(data: *const c_void, size: usize) -> Result<&'a [u8], Failure> {
    check_size(size)?;
    match (data.is_null(), size) {
        // From an empty std::vector.
        (true, 0) => Ok(&[]),
        (true, _) => Err(Failure::Null { name: "data" }),
        // SAFETY: the caller guarantees it, and `size` is within the limit of a slice.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(data.cast(), size) }),
    }
}

/// The caller's buffer to fill.
///
/// # Safety
///
/// `buffer` is NULL, or valid for writes of `size` bytes for `'a`, and no one else uses them meanwhile.
#[inline]
pub(crate) unsafe fn buffer<'a>(buffer: *mut c_void, size: usize) -> Result<&'a mut [u8], Failure> {
    check_size(size)?;
    match (buffer.is_null(), size) {
        (true, 0) => Ok(&mut []),
        (true, _) => Err(Failure::Null { name: "buffer" }),
        // SAFETY: the caller guarantees it, and `size` is within the limit of a slice. Bytes from C have some
        // value.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), size) }),
    }
}

#[inline]
pub(crate) fn check_size(size: usize) -> Result<(), Failure> {
    if size > LARGEST { Err(Failure::Size { size, limit: LARGEST }) } else { Ok(()) }
}

/// The size of the largest object that memory can contain, in bytes.
const LARGEST: usize = isize::MAX as usize;

/// A text of the caller's, `None` for NULL.
///
/// # Safety
///
/// `text` is NULL or ends with a zero byte, and does not change for `'a`.
pub(crate) unsafe fn text<'a>(name: &'static str, text: *const c_char) -> Result<Option<&'a str>, Failure> {
    // SAFETY: the caller guarantees it.
    let text = unsafe { c_string(text) };
    text.map(|text| text.to_str().map_err(|source| Failure::NotUtf8 { name, source })).transpose()
}

/// A path of the caller's, `None` for NULL. It may contain any bytes.
///
/// # Safety
///
/// As [`text`].
pub(crate) unsafe fn path<'a>(path: *const c_char) -> Option<&'a Path> {
    // SAFETY: the caller guarantees it.
    let path = unsafe { c_string(path) };
    path.map(|path| Path::new(OsStr::from_bytes(path.to_bytes())))
}

unsafe fn c_string<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: not NULL; the caller of `text` and `path` guarantees the rest.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{framebuffer_error_message, message};

    #[test]
    fn a_panic_becomes_a_code_and_a_message() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let status = guard(|| panic!("on purpose"));
        std::panic::set_hook(hook);
        assert_eq!(status, Status::Internal);
        assert!(message(framebuffer_error_message()).contains("a bug in FrameBuffer"));
    }

    #[test]
    fn no_bytes_may_be_anywhere_but_some_bytes_need_a_place() {
        // SAFETY: NULL is allowed.
        let nothing = |size| unsafe { bytes(std::ptr::null(), size) };
        assert_eq!(nothing(0).unwrap(), b"");
        assert!(matches!(nothing(1), Err(Failure::Null { name: "data" })));
    }

    #[test]
    fn a_size_that_no_object_can_have_is_refused() {
        let byte = 0_u8;
        // SAFETY: it is refused before anything is read.
        let refused = unsafe { bytes((&raw const byte).cast(), usize::MAX) };
        let limit = isize::MAX as usize;
        assert!(matches!(refused, Err(Failure::Size { size: usize::MAX, limit: l }) if l == limit));
    }
}
