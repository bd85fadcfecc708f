//! [`Status`] and its message.
//!
//! Each thread keeps its message, instead of returning it through a parameter. So a caller who only looks at the status
//! passes nothing and frees nothing; that is the common case where a slow reader meets timeouts.

use std::borrow::Cow;
use std::cell::RefCell;
use std::error::Error as StdError;
use std::ffi::{CStr, CString, c_char};
use std::str::Utf8Error;

use framebuffer::{ChannelError, ConnectError, Error, FrameBufferTimeout, InvalidKey, SegmentError};
use thiserror::Error;

/// The result of a call. The numbers are part of the ABI: new ones may be added, none changes.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The frame has been overwritten, is not written yet, or has another size or checksum. Expected in normal
    /// operation when a reader is slow: drop the frame and go on. From framebuffer_view_verify() also: the view is no
    /// longer protected.
    Timeout = 1,
    /// NULL, or an invalid text, key, URL, size, name of a channel, option or descriptor.
    InvalidArgument = 2,
    /// A frame larger than the ring. If it was to be read, it may be of a larger ring that this one has replaced.
    LargerThanRing = 3,
    /// Views, loans and operations in progress pin so much of the ring that the frame fits nowhere. The message says
    /// what would have fitted.
    Exhausted = 4,
    /// An offset that was never allocated in this ring: it may be of a ring that this one has replaced.
    NeverAllocated = 5,
    /// More data than was allocated for the frame.
    TooLarge = 6,
    /// The frame is already written or being written: a frame is written once.
    AlreadyWritten = 7,
    /// The buffer is too small for the frame or the text.
    BufferTooSmall = 8,
    /// The loan belongs to the parent: this is a child of fork().
    Forked = 9,
    /// There is no ring with this key in this folder.
    NotFound = 10,
    /// Another live server owns the ring with this key.
    AlreadyOwned = 11,
    /// Not enough memory for a ring of this size.
    NoMemory = 12,
    /// All participant slots of the ring are taken.
    ParticipantsFull = 13,
    /// The file is not a segment, is damaged, or has a layout version other than this library's.
    NotASegment = 14,
    /// The ring to adopt has another size.
    SizeDiffers = 15,
    /// No sidecar answered in time, or something else did.
    NoSidecar = 16,
    /// The operating system refused an operation: the message says which.
    System = 17,
    /// A program that does not follow the protocol has overwritten the ring's control block.
    Corrupt = 18,
    /// The program has closed a file descriptor of this library. The next call joins the ring again.
    ParticipantLost = 19,
    /// A bug in this library. The handle that the call was to release is released; you can go on using the others.
    Internal = 20,
    /// The ring was given up: its owner has stopped, or another ring has taken its place. Open it anew; a client from
    /// framebuffer_client_connect() finds the next ring by itself, and fails with this only while there is none.
    Retired = 21,
    /// The frame is of another ring than the one that is open: one has replaced the other. If the open one is newer,
    /// the frame is gone: drop it as after a timeout. Otherwise open the ring anew.
    OtherRing = 22,
    /// This client has so many views, loans and operations in progress that another would take a participant slot that
    /// is left for others: release some.
    PinsFull = 23,
    /// No frame of the channel came in that time, or is there now. Expected in normal operation: try again.
    NoFrame = 24,
    /// A lossless subscriber has yet to receive a frame that the publisher would let go of: nothing was sent. Send
    /// again later, or with a timeout. The message says who holds it up.
    Backlog = 25,
    /// A signal handler of the program ran while a frame or a lossless subscriber was waited for. Nothing is lost, and
    /// nothing was sent: call again, or end if the handler asks for it.
    Interrupted = 26,
    /// The channel cannot be had so: the ring has no room for another one, it has another content type, 8 lossless
    /// subscribers, or a lossless subscriber beside a publisher that keeps nothing.
    Channel = 27,
    /// Another thread is using this publisher or subscriber: each is for one thread at a time. Nothing was done.
    Busy = 28,
}

/// Why a call failed.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{name} is NULL")]
    Null { name: &'static str },
    #[error("{name} is not UTF-8")]
    NotUtf8 { name: &'static str, source: Utf8Error },
    #[error("a size of {size} bytes is beyond the limit of {limit} bytes")]
    Size { size: usize, limit: usize },
    #[error("the text is not the description of a frame")]
    NotAFrame { source: serde_json::Error },
    #[error("the buffer has {len} bytes, {needed} are needed")]
    BufferTooSmall { len: u64, needed: u64 },
    #[error(transparent)]
    Frame(#[from] Error),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("options of {size} bytes, which this library knows with {known}: initialise them with {initialiser}")]
    OptionsSize { size: usize, known: usize, initialiser: &'static str },
    #[error("an option of a newer header is set, at byte {at}: this library knows the first {known} bytes of them")]
    UnknownOption { at: usize, known: usize },
    #[error("a start of {start}: FRAMEBUFFER_START_LATEST, 0, to FRAMEBUFFER_START_AFTER, 3, are what there is")]
    UnknownStart { start: u32 },
    #[error("the loan is not of this publisher: send it with the one that lent it, commit those of a client")]
    OtherLoan,
    #[error("another thread is using this {handle}: use it from one thread at a time, or open one for each")]
    Busy { handle: &'static str },
    #[error("no frame of the channel is there")]
    NoFrame,
    #[error("a signal handler ran during a wait on the channel: call again if it does not ask you to end")]
    Interrupted,
    #[error("a bug in FrameBuffer: it panicked, and wrote the reason to standard error")]
    Panic,
}

impl From<FrameBufferTimeout> for Failure {
    fn from(timeout: FrameBufferTimeout) -> Self {
        Self::Frame(timeout.into())
    }
}

impl From<InvalidKey> for Failure {
    fn from(key: InvalidKey) -> Self {
        Self::Segment(key.into())
    }
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        Self::Frame(error.into())
    }
}

impl Failure {
    fn status(&self) -> Status {
        match self {
            Self::Null { .. }
            | Self::NotUtf8 { .. }
            | Self::Size { .. }
            | Self::NotAFrame { .. }
            | Self::OptionsSize { .. }
            | Self::UnknownOption { .. }
            | Self::UnknownStart { .. }
            | Self::OtherLoan
            | Self::Connect(ConnectError::Url { .. }) => Status::InvalidArgument,
            Self::Busy { .. } => Status::Busy,
            Self::NoFrame => Status::NoFrame,
            Self::Interrupted => Status::Interrupted,
            Self::BufferTooSmall { .. } => Status::BufferTooSmall,
            Self::Frame(error) => of_frame(error),
            Self::Segment(error) => of_segment(error),
            Self::Connect(ConnectError::Segment { source, .. }) => of_segment(source),
            // Nothing answers, or not as a sidecar.
            Self::Connect(_) => Status::NoSidecar,
            Self::Panic => Status::Internal,
        }
    }

    /// The message, if it is always the same: nothing is to be allocated for what a loop meets each time it waits.
    fn constant_message(&self) -> Option<&'static CStr> {
        matches!(self, Self::NoFrame).then_some(c"no frame of the channel is there")
    }
}

fn of_frame(error: &Error) -> Status {
    match error {
        Error::Timeout(_) => Status::Timeout,
        Error::LargerThanRing { .. } => Status::LargerThanRing,
        Error::Exhausted { .. } => Status::Exhausted,
        Error::NeverAllocated { .. } => Status::NeverAllocated,
        Error::TooLarge { .. } => Status::TooLarge,
        Error::AlreadyWritten { .. } => Status::AlreadyWritten,
        Error::BufferLength { .. } => Status::BufferTooSmall,
        Error::Retired => Status::Retired,
        Error::OtherRing { .. } => Status::OtherRing,
        Error::Forked => Status::Forked,
        Error::Corrupt { .. } => Status::Corrupt,
        Error::ParticipantLost => Status::ParticipantLost,
        Error::OwnershipLost => Status::AlreadyOwned,
        Error::Join(error) | Error::OutOfOrder(error) => of_segment(error),
        Error::Channel(error) => of_channel(error),
        // `Stopped`, which no handle here ever is, and later variants.
        _ => Status::Internal,
    }
}

fn of_channel(error: &ChannelError) -> Status {
    match error {
        ChannelError::NameEmpty
        | ChannelError::NameTooLong { .. }
        | ChannelError::NameCharacter { .. }
        | ChannelError::ContentTypeTooLong { .. }
        | ChannelError::KeepTooLarge { .. }
        | ChannelError::ShapeTooLarge { .. }
        | ChannelError::ShapeDiffers { .. } => Status::InvalidArgument,
        ChannelError::Backlog { .. } => Status::Backlog,
        // No room, another content type, and later variants.
        _ => Status::Channel,
    }
}

fn of_segment(error: &SegmentError) -> Status {
    match error {
        SegmentError::Key(_) | SegmentError::ZeroSize | SegmentError::SizeLimit { .. } => Status::InvalidArgument,
        SegmentError::NoMemory { .. } => Status::NoMemory,
        SegmentError::AlreadyOwned | SegmentError::OwnershipLost => Status::AlreadyOwned,
        SegmentError::NotFound { .. } | SegmentError::NameGone { .. } | SegmentError::NameTaken { .. } => {
            Status::NotFound
        }
        SegmentError::TooShort { .. }
        | SegmentError::Magic { .. }
        | SegmentError::Version { .. }
        | SegmentError::Head { .. }
        | SegmentError::Damaged { .. } => Status::NotASegment,
        SegmentError::SizeDiffers { .. } => Status::SizeDiffers,
        SegmentError::ParticipantsFull { .. } => Status::ParticipantsFull,
        SegmentError::PinsFull { .. } => Status::PinsFull,
        SegmentError::Io { .. } | SegmentError::NotPermitted { .. } => Status::System,
        _ => Status::Internal,
    }
}

thread_local! {
    static MESSAGE: RefCell<Cow<'static, CStr>> = const { RefCell::new(Cow::Borrowed(c"")) };
}

/// Keeps a failure's message for this thread, and returns its status.
#[cold]
pub(crate) fn remember(failure: &Failure) -> Status {
    let text = failure.constant_message().map_or_else(|| Cow::Owned(text_of(failure)), Cow::Borrowed);
    // A thread that is ending no longer has a message.
    let _ = MESSAGE.try_with(|message| message.replace(text));
    failure.status()
}

/// A failure and its causes.
fn text_of(failure: &Failure) -> CString {
    let first: &dyn StdError = failure;
    let causes = std::iter::successors(Some(first), |&error| error.source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ").replace('\0', "?");
    CString::new(text).unwrap_or_default()
}

/// The message of this thread's last call that did not return FRAMEBUFFER_STATUS_OK, with the offending value and the
/// limit; "" if there was none. It never contains a key.
///
/// The text belongs to the library and is valid until this thread's next call that fails, or the thread's end. Never
/// NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_error_message() -> *const c_char {
    MESSAGE.try_with(|message| message.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// The name of a status, for logs and metrics: "timeout", "larger_than_ring"; "unknown" for any other number.
///
/// The text is always valid. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn framebuffer_status_name(status: i32) -> *const c_char {
    let names = [
        c"ok",
        c"timeout",
        c"invalid_argument",
        c"larger_than_ring",
        c"exhausted",
        c"never_allocated",
        c"too_large",
        c"already_written",
        c"buffer_too_small",
        c"forked",
        c"not_found",
        c"already_owned",
        c"no_memory",
        c"participants_full",
        c"not_a_segment",
        c"size_differs",
        c"no_sidecar",
        c"system",
        c"corrupt",
        c"participant_lost",
        c"internal",
        c"retired",
        c"other_ring",
        c"pins_full",
        c"no_frame",
        c"backlog",
        c"interrupted",
        c"channel",
        c"busy",
    ];
    let name = usize::try_from(status).ok().and_then(|status| names.get(status));
    name.map_or(c"unknown", |name| *name).as_ptr()
}

/// A text of this library, for tests.
#[cfg(test)]
pub(crate) fn message(text: *const c_char) -> String {
    // SAFETY: texts of this library end with a zero byte and live until the next failure.
    unsafe { std::ffi::CStr::from_ptr(text) }.to_str().expect("UTF-8").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_value_the_limit_and_the_cause() {
        let failure = Failure::from(Error::LargerThanRing { size: 7, limit: 5 });
        assert_eq!(remember(&failure), Status::LargerThanRing);
        assert!(message(framebuffer_error_message()).contains("7 bytes"));
        assert!(message(framebuffer_error_message()).contains("at most 5 bytes"));
        let joining = Failure::from(Error::Join(SegmentError::ParticipantsFull { limit: 250 }));
        assert_eq!(remember(&joining), Status::ParticipantsFull);
        assert!(message(framebuffer_error_message()).starts_with("failed to join the ring: all 250"));
    }

    #[test]
    fn what_a_program_reacts_to_has_a_status_of_its_own() {
        let [frame, ring] = [5, 6].map(|id| framebuffer::RingId::from_u64(id).expect("not 0"));
        let pins = SegmentError::PinsFull { pins: 64, participants: 256, left: 4 };
        let backlog = ChannelError::Backlog { channel: "log".into(), number: 9, unread: 8, participant: 4, keep: 1 };
        for (error, status, says) in [
            (Error::Retired, Status::Retired, "open it anew"),
            (Error::OtherRing { frame, ring }, Status::OtherRing, "of ring 0000000000000005, not of ring"),
            (Error::Join(pins), Status::PinsFull, "release views and loans"),
            (backlog.into(), Status::Backlog, "participant 4"),
            (ChannelError::TooManyLossless { name: "log".into() }.into(), Status::Channel, "already has 8"),
            (ChannelError::KeepTooLarge { asked: 33, limit: 32 }.into(), Status::InvalidArgument, "not 33"),
            (Error::Exhausted { size: 9, pins: 2, largest_free: 3 }, Status::Exhausted, "has 3 bytes"),
        ] {
            assert_eq!(remember(&Failure::from(error)), status);
            assert!(message(framebuffer_error_message()).contains(says), "{status:?}");
        }
    }

    #[test]
    fn the_message_that_is_not_made_each_time_is_that_of_its_error() {
        assert_eq!(remember(&Failure::NoFrame), Status::NoFrame);
        assert_eq!(message(framebuffer_error_message()), Failure::NoFrame.to_string());
    }

    #[test]
    fn every_thread_has_its_own_message() {
        remember(&Failure::Null { name: "frame" });
        let other = std::thread::spawn(|| message(framebuffer_error_message())).join().unwrap();
        assert_eq!(other, "");
        assert_eq!(message(framebuffer_error_message()), "frame is NULL");
    }

    #[test]
    fn the_last_status_has_a_name_and_those_beyond_have_none() {
        assert_eq!(message(framebuffer_status_name(Status::Internal as i32)), "internal");
        assert_eq!(message(framebuffer_status_name(Status::NoSidecar as i32)), "no_sidecar");
        assert_eq!(message(framebuffer_status_name(Status::PinsFull as i32)), "pins_full");
        assert_eq!(message(framebuffer_status_name(Status::NoFrame as i32)), "no_frame");
        assert_eq!(message(framebuffer_status_name(Status::Busy as i32)), "busy");
        for none in [-1, Status::Busy as i32 + 1, i32::MIN, i32::MAX] {
            assert_eq!(message(framebuffer_status_name(none)), "unknown");
        }
    }
}
