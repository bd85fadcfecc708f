//! Scribbles on a living segment (control block, participant slots, channels, frame headers) while clients and its
//! server use it.
//! They may fail, and read nonsense; they must not panic, hang or touch memory that is not theirs.
//!
//! `TMPDIR=/dev/shm cargo +nightly fuzz run control_block -- -max_total_time=300 -timeout=10 -len_control=0`
#![no_main]

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use arbitrary::Arbitrary;
use framebuffer::layout::{
    CHANNEL_SIZE, CHANNELS_OFFSET, Control, DESCRIPTOR_SIZE, ENROLLED_WORDS, FRAME_ALIGN, FrameHeader, HEADER_SIZE,
    INDEX, INDEXES_OFFSET, PARTICIPANTS, RING_OFFSET, SLOT_SIZE, active_offset, slot_offset,
};
use framebuffer::{
    Checksum, ClientOptions, Frame, FrameBufferClient, FrameBufferServer, Key, Loan, Prefault, Publisher, Sample,
    Start, Subscriber, View,
};
use libfuzzer_sys::fuzz_target;

const SIZE: u64 = 16 << 10;
/// Bytes of a word.
const WORD: u64 = size_of::<u64>() as u64;
/// Where the head is in the file.
const HEAD: u64 = offset_of!(Control, head) as u64;
/// Words of the identity, and of a frame's header, that are in use.
const IDENTITY_WORDS: u64 = offset_of!(Control, participants) as u64 / WORD + 1;
const HEADER_WORDS: u64 = offset_of!(FrameHeader, committed) as u64 / WORD + 1;
const CLIENTS: usize = 3;
/// Channels in use, at the first places of the directory.
const NAMES: [&str; 3] = ["a", "b/c", "d"];
/// Publishers, subscribers and samples that are held at once.
const HELD: usize = 8;
/// Frames that one turn receives.
const RECEIVED: usize = 4;
/// Operations of one run.
const OPERATIONS: usize = 200;
/// More than twice the ring, so that a write past an allocation would leave the mapping.
static DATA: [u8; 8 << 20] = [0xA5; 8 << 20];

#[derive(Arbitrary, Debug)]
enum Operation {
    Scribble(Place, Value),
    Allocate(u8, u16),
    ServerAllocate(u16),
    Write(u8, u8, Length),
    Publish(u8, u16),
    Read(u8, u8),
    ReadWhatever(u8, Value, u16, u64),
    View(u8, u8),
    DropView(u8),
    Loan(u8, u16),
    Commit(u8),
    DropLoan(u8),
    Publisher(u8, u8, u8),
    Subscriber(u8, u8, Beginning, bool),
    Send(u8, u16),
    Receive(u8),
    Latest(u8),
    DropChannel(u8),
    Channels(u8),
    LookFromOutside(u8),
    Stats(u8),
    StatFromOutside,
    Reap,
    Reopen,
    Adopt,
}

#[derive(Arbitrary, Debug)]
enum Length {
    AsAllocated,
    Short(u16),
    Long(u32),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Beginning {
    Latest,
    New,
    Oldest,
    After(Value),
}

#[derive(Arbitrary, Debug)]
enum Place {
    Identity(u8),
    Head,
    Enrolled(u8),
    /// A word of one of the first slots: those are in use.
    Slot(u8, u8),
    AnySlot(u8, u8),
    /// A word of the header of a frame that was handed out.
    Header(u8, u8),
    /// A word of its descriptor, if it was sent.
    Descriptor(u8, u8),
    /// A word of a channel in use, or of its index.
    Channel(u8, u8),
    Index(u8, u16),
    Anywhere(u32),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Value {
    Raw(u64),
    Small(u8),
    NearHead(i16),
    NearFrame(u8, i8),
    Maximum(u8),
    Bit(u8),
}

struct Scene {
    file: File,
    frames: Vec<Frame>,
}

impl Scene {
    fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at).map_or(0, |()| u64::from_le_bytes(bytes))
    }

    fn value(&self, value: Value) -> u64 {
        match value {
            Value::Raw(value) => value,
            Value::Small(value) => value.into(),
            Value::NearHead(by) => self.word(HEAD).wrapping_add_signed(i64::from(by) * FRAME_ALIGN as i64),
            Value::NearFrame(frame, by) => {
                self.frame(frame).offset.wrapping_add_signed(i64::from(by) * FRAME_ALIGN as i64)
            }
            Value::Maximum(less) => u64::MAX - u64::from(less),
            Value::Bit(bit) => 1 << (bit % 64),
        }
    }

    fn frame(&self, number: u8) -> Frame {
        let none = Frame::new(HEADER_SIZE, 0, Checksum::from_u64(0));
        self.frames.get(usize::from(number) % self.frames.len().max(1)).copied().unwrap_or(none)
    }

    fn start(&self, beginning: Beginning) -> Start {
        match beginning {
            Beginning::Latest => Start::Latest,
            Beginning::New => Start::New,
            Beginning::Oldest => Start::Oldest,
            Beginning::After(value) => Start::After(self.value(value)),
        }
    }

    fn scribble(&self, place: &Place, value: Value) {
        let length = self.file.metadata().map_or(0, |file| file.len());
        // The first word of a slot is reserved: for it that of the slot's active pins.
        let slot = |slot: usize, word: u8| match u64::from(word) % (SLOT_SIZE / WORD) {
            0 => active_offset(slot),
            word => slot_offset(slot) + word * WORD,
        };
        let at = match *place {
            Place::Identity(word) => u64::from(word) % IDENTITY_WORDS * WORD,
            Place::Head => HEAD,
            Place::Enrolled(word) => {
                offset_of!(Control, enrolled) as u64 + u64::from(word) % ENROLLED_WORDS as u64 * WORD
            }
            Place::Slot(number, word) => slot(usize::from(number % 8), word),
            Place::AnySlot(number, word) => slot(usize::from(number) % PARTICIPANTS, word),
            Place::Header(frame, word) => {
                let start = self.frame(frame).offset.wrapping_sub(HEADER_SIZE) % (length - RING_OFFSET);
                RING_OFFSET + start + u64::from(word) % HEADER_WORDS * WORD
            }
            Place::Descriptor(frame, word) => {
                let start =
                    self.frame(frame).offset.wrapping_sub(HEADER_SIZE + DESCRIPTOR_SIZE) % (length - RING_OFFSET);
                RING_OFFSET + start + u64::from(word) % (DESCRIPTOR_SIZE / WORD) * WORD
            }
            Place::Channel(place, word) => {
                let channel = u64::from(place) % NAMES.len() as u64;
                CHANNELS_OFFSET + channel * CHANNEL_SIZE + u64::from(word) % (CHANNEL_SIZE / WORD) * WORD
            }
            Place::Index(place, word) => {
                let channel = u64::from(place) % NAMES.len() as u64;
                INDEXES_OFFSET + (channel * INDEX as u64 + u64::from(word) % INDEX as u64) * WORD
            }
            Place::Anywhere(at) => u64::from(at) % (length / WORD) * WORD,
        };
        if at + WORD <= length {
            self.file.write_all_at(&self.value(value).to_le_bytes(), at).expect("the segment is writable");
        }
    }
}

/// Ends of channels, and what they have received.
#[derive(Default)]
struct Channels<'c> {
    publishers: Vec<Publisher<'c>>,
    subscribers: Vec<Subscriber<'c>>,
    samples: Vec<Sample<'c>>,
}

impl<'c> Channels<'c> {
    fn publish(&mut self, client: &'c FrameBufferClient, name: u8, keep: u8) {
        let name = NAMES[usize::from(name) % NAMES.len()];
        if self.publishers.len() < HELD {
            self.publishers.extend(client.publisher_options(name).keep(usize::from(keep) % 4).open());
        }
    }

    fn subscribe(&mut self, client: &'c FrameBufferClient, name: u8, start: Start, lossless: bool) {
        let options = client.subscriber_options(NAMES[usize::from(name) % NAMES.len()]).start(start);
        let options = if lossless { options.lossless() } else { options };
        if self.subscribers.len() < HELD {
            self.subscribers.extend(options.open());
        }
    }

    fn send(&mut self, number: u8, length: usize) -> Option<Frame> {
        let among = self.publishers.len().max(1);
        let publisher = self.publishers.get_mut(usize::from(number) % among)?;
        publisher.send(&DATA[..length]).ok().map(|sent| sent.frame)
    }

    fn receive(
        &mut self,
        number: u8,
        receive: impl Fn(&mut Subscriber<'c>) -> Result<Option<Sample<'c>>, framebuffer::Error>,
    ) {
        let among = self.subscribers.len().max(1);
        let Some(subscriber) = self.subscribers.get_mut(usize::from(number) % among) else { return };
        for _ in 0..RECEIVED {
            let Ok(Some(sample)) = receive(subscriber) else { break };
            black_box(sample.descriptor().dimensions().len());
            black_box(sample.iter().copied().fold(0_u8, u8::wrapping_add));
            if self.samples.len() < HELD {
                self.samples.push(sample);
            }
        }
    }

    fn drop_one(&mut self, number: usize) {
        match number % 3 {
            0 => drop(self.publishers.pop()),
            1 => drop(self.subscribers.pop()),
            _ => drop(self.samples.pop()),
        }
    }
}

fuzz_target!(|operations: Vec<Operation>| {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let first_free = File::open(dir.path()).expect("the folder").as_raw_fd();
    run(&operations[..operations.len().min(OPERATIONS)], dir.path());
    let now_free = File::open(dir.path()).expect("the folder").as_raw_fd();
    assert_eq!(now_free, first_free, "a descriptor was left open");
});

fn run(operations: &[Operation], dir: &std::path::Path) {
    let key = Key::new("fuzz").expect("a key");
    let options = || FrameBufferServer::options(SIZE).key(key.clone()).dir(dir).keep(true).prefault(Prefault::Off);
    let client_options =
        || -> ClientOptions { FrameBufferClient::options(key.clone()).dir(dir).prefault(Prefault::Off) };
    let mut server = Some(options().start().expect("a new ring"));
    let path = dir.join("framebuffer-fuzz");
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the segment");
    let mut scene = Scene { file, frames: Vec::new() };
    let clients: Vec<FrameBufferClient> = (0..CLIENTS).map(|_| client_options().open().expect("a client")).collect();
    let client = |number: u8| &clients[usize::from(number) % CLIENTS];
    let mut extra = None;
    let mut views: Vec<View<'_>> = Vec::new();
    let mut loans: Vec<Loan<'_>> = Vec::new();
    let mut channels = Channels::default();

    for operation in operations {
        match operation {
            Operation::Scribble(place, value) => scene.scribble(place, *value),
            Operation::Allocate(c, size) => {
                if let Ok(offset) = client(*c).allocate((*size).into()) {
                    scene.frames.push(Frame::new(offset, (*size).into(), Checksum::from_u64(0)));
                }
            }
            Operation::ServerAllocate(size) => {
                if let Some(Ok(offset)) = server.as_ref().map(|server| server.allocate((*size).into())) {
                    scene.frames.push(Frame::new(offset, (*size).into(), Checksum::from_u64(0)));
                }
            }
            Operation::Write(c, frame, length) => {
                let frame = scene.frame(*frame);
                let length = match *length {
                    Length::AsAllocated => frame.size as usize,
                    Length::Short(length) => length.into(),
                    Length::Long(length) => length as usize % DATA.len(),
                };
                if let Ok(checksum) = client(*c).write(frame.offset, &DATA[..length]) {
                    scene.frames.push(Frame { size: length as u64, checksum, ..frame });
                }
            }
            Operation::Publish(c, length) => {
                scene.frames.extend(client(*c).publish(&DATA[..usize::from(*length)]));
            }
            Operation::Read(c, frame) => drop(black_box(client(*c).read_frame(&scene.frame(*frame)))),
            Operation::ReadWhatever(c, offset, size, checksum) => {
                let offset = scene.value(*offset);
                drop(black_box(client(*c).read(offset, (*size).into(), Checksum::from_u64(*checksum))));
            }
            Operation::View(c, frame) => {
                if let Ok(view) = client(*c).view(&scene.frame(*frame)) {
                    let _ = black_box(view.verify());
                    views.push(view);
                }
            }
            Operation::DropView(number) if !views.is_empty() => {
                let view = views.swap_remove(usize::from(*number) % views.len());
                black_box(view.iter().copied().fold(0_u8, u8::wrapping_add));
            }
            Operation::Loan(c, size) => {
                if let Ok(mut loan) = client(*c).loan((*size).into()) {
                    loan.fill(7);
                    loans.push(loan);
                }
            }
            Operation::Commit(number) if !loans.is_empty() => {
                let mut loan = loans.swap_remove(usize::from(*number) % loans.len());
                loan.fill(8);
                scene.frames.extend(loan.commit());
            }
            Operation::DropLoan(number) if !loans.is_empty() => {
                drop(loans.swap_remove(usize::from(*number) % loans.len()));
            }
            Operation::Publisher(c, name, keep) => channels.publish(client(*c), *name, *keep),
            Operation::Subscriber(c, name, beginning, lossless) => {
                channels.subscribe(client(*c), *name, scene.start(*beginning), *lossless);
            }
            Operation::Send(number, length) => scene.frames.extend(channels.send(*number, usize::from(*length))),
            Operation::Receive(number) => channels.receive(*number, Subscriber::try_next),
            Operation::Latest(number) => channels.receive(*number, Subscriber::latest),
            Operation::DropChannel(number) => channels.drop_one(usize::from(*number)),
            Operation::Channels(c) => {
                drop(black_box(client(*c).channels()));
                drop(black_box(server.as_ref().map(FrameBufferServer::channels)));
            }
            Operation::LookFromOutside(name) => {
                drop(black_box(framebuffer::channels(dir, &key)));
                drop(black_box(framebuffer::latest(dir, &key, NAMES[usize::from(*name) % NAMES.len()])));
                drop(black_box(framebuffer::frames(dir, &key).map(Iterator::count)));
            }
            Operation::Stats(c) => drop(black_box(client(*c).stats())),
            Operation::StatFromOutside => drop(black_box(framebuffer::stat(dir, &key))),
            Operation::Reap => drop(black_box(server.as_ref().map(FrameBufferServer::reap))),
            Operation::Reopen => {
                drop(extra.take());
                extra = client_options().open().ok();
                if let Some(extra) = &extra {
                    scene.frames.extend(extra.publish(&DATA[..100]));
                }
            }
            Operation::Adopt => {
                drop(server.take());
                server = options().start().ok();
            }
            Operation::DropView(_) | Operation::Commit(_) | Operation::DropLoan(_) => {}
        }
        if scene.frames.len() > 256 {
            scene.frames.drain(..128);
        }
    }
}
