//! iceoryx2, publish and subscribe: copied, or in place.
//!
//! With its best settings for this: one publisher, no overflow, slices as long as the frames, memory that is not filled
//! before it is lent. Readers spin, as in its own benchmarks, or sleep until an event of its own. Every length gets a
//! service of its own, so that the samples are packed as densely as possible.

use anyhow::{Context, Result, anyhow};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    BackpressureStrategy, Config, FileName, LogLevel, Node, NodeBuilder, Path, SemanticString as _, SignalHandlingMode,
    ipc, set_log_level,
};
use iceoryx2::service::port_factory::event;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use super::{Ends, Place, Received, Receiver, Sender, Transport};
use crate::clock;
use crate::control::Control;
use crate::orders::Frames;
use crate::wait::{PATIENCE, Patience, Waiting};

/// The crate does not give its version, but cargo has noted it.
const LOCK: &str = include_str!("../../../Cargo.lock");

pub(super) const COPY: Transport = Transport {
    id: "iceoryx2-copy",
    name: "iceoryx2, copy",
    ours: false,
    copies: true,
    checksum: false,
    waiting: Waiting::Spin,
    ends: Ends::Processes { writer: |place| writer(place, true, false), reader: |place| reader(place, true, false) },
    server: None,
    available: || Ok(version().to_owned()),
};

pub(super) const IN_PLACE: Transport = Transport {
    id: "iceoryx2-in-place",
    name: "iceoryx2, in place",
    copies: false,
    ends: Ends::Processes { writer: |place| writer(place, false, false), reader: |place| reader(place, false, false) },
    ..COPY
};

pub(super) const IN_PLACE_EVENT: Transport = Transport {
    id: "iceoryx2-event",
    name: "iceoryx2, in place, told by event",
    waiting: Waiting::Block,
    ends: Ends::Processes { writer: |place| writer(place, false, true), reader: |place| reader(place, false, true) },
    ..IN_PLACE
};

/// How the files that iceoryx2 makes in `/dev/shm` begin, in a run whose folder is `run`.
pub(crate) fn prefix(run: &std::path::Path) -> String {
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}-iox2-")
}

fn version() -> &'static str {
    let after = LOCK.split_once("name = \"iceoryx2\"\nversion = \"").map_or("", |(_, after)| after);
    after.split('"').next().unwrap_or_default()
}

fn node(place: &Place) -> Result<Node<ipc::Service>> {
    set_log_level(LogLevel::Error);
    let run = place.dir.parent().context("the group's folder is in none")?;
    let mut config = Config::default();
    // Relative: the path of a socket has room for 107 bytes, and its events have some.
    std::env::set_current_dir(&place.dir).context("failed to go to the group's folder")?;
    let root = Path::new(b"i");
    config.global.set_root_path(&root.map_err(|error| anyhow!("{error:?}: the group's folder"))?);
    let prefix = FileName::new(prefix(run).as_bytes());
    config.global.prefix = prefix.map_err(|error| anyhow!("{error:?}: the prefix of iceoryx2's files"))?;
    NodeBuilder::new()
        .config(&config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<ipc::Service>()
        .context("failed to create an iceoryx2 node")
}

fn service(node: &Node<ipc::Service>, frames: &Frames, readers: usize) -> Result<PortFactory<ipc::Service, [u8], ()>> {
    let name = format!("frames-{}", frames.size);
    node.service_builder(&name.as_str().try_into().context("not a service name")?)
        .publish_subscribe::<[u8]>()
        .enable_safe_overflow(false)
        .history_size(0)
        .max_publishers(1)
        .max_subscribers(readers)
        .max_nodes(readers + 1)
        .subscriber_max_buffer_size(frames.window as usize)
        .subscriber_max_borrowed_samples(1)
        .open_or_create()
        .context("failed to open an iceoryx2 service")
}

/// The event by which a writer wakes its readers.
fn event(node: &Node<ipc::Service>, readers: usize) -> Result<event::PortFactory<ipc::Service>> {
    node.service_builder(&"sent".try_into().context("not a service name")?)
        .event()
        .max_notifiers(1)
        .max_listeners(readers)
        .max_nodes(readers + 1)
        .open_or_create()
        .context("failed to open an iceoryx2 event")
}

struct Writer {
    // Ports before the node: fields are dropped in this order.
    publisher: Option<Publisher<ipc::Service, [u8], ()>>,
    notifier: Option<Notifier<ipc::Service>>,
    node: Node<ipc::Service>,
    readers: usize,
    copies: bool,
    whole: bool,
}

fn writer(place: &Place, copies: bool, told: bool) -> Result<Box<dyn Sender>> {
    let (node, readers) = (node(place)?, place.readers);
    let notifier =
        told.then(|| event(&node, readers)?.notifier_builder().create().context("failed to create a notifier"));
    Ok(Box::new(Writer { publisher: None, notifier: notifier.transpose()?, node, readers, copies, whole: false }))
}

impl Sender for Writer {
    fn prepare(&mut self, frames: &Frames) -> Result<()> {
        self.whole = frames.whole;
        self.publisher = None;
        let publisher = service(&self.node, frames, self.readers)?
            .publisher_builder()
            .initial_max_slice_len(frames.size)
            .max_loaned_samples(1)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create();
        self.publisher = Some(publisher.context("failed to create an iceoryx2 publisher")?);
        Ok(())
    }

    fn send(&mut self, _: &Control, _: u64, payload: &[u8]) -> Result<()> {
        let publisher = self.publisher.as_ref().context("not prepared")?;
        let sample = publisher.loan_slice_uninit(payload.len()).context("iceoryx2 lends no sample")?;
        let sample = if self.copies || self.whole {
            sample.write_from_slice(payload)
        } else {
            // SAFETY: it is shared memory, which the kernel has filled with zeros, and any byte is a u8.
            unsafe { sample.assume_init() }
        };
        sample.send().context("failed to send with iceoryx2")?;
        if let Some(notifier) = &self.notifier {
            notifier.notify().context("failed to notify with iceoryx2")?;
        }
        Ok(())
    }
}

struct Reader {
    subscriber: Option<Subscriber<ipc::Service, [u8], ()>>,
    listener: Option<Listener<ipc::Service>>,
    node: Node<ipc::Service>,
    readers: usize,
    copies: bool,
    whole: bool,
}

fn reader(place: &Place, copies: bool, told: bool) -> Result<Box<dyn Receiver>> {
    let (node, readers) = (node(place)?, place.readers);
    let listener =
        told.then(|| event(&node, readers)?.listener_builder().create().context("failed to create a listener"));
    Ok(Box::new(Reader { subscriber: None, listener: listener.transpose()?, node, readers, copies, whole: false }))
}

impl Receiver for Reader {
    fn prepare(&mut self, frames: &Frames) -> Result<()> {
        self.whole = frames.whole;
        self.subscriber = None;
        let subscriber = service(&self.node, frames, self.readers)?.subscriber_builder().create();
        self.subscriber = Some(subscriber.context("failed to create an iceoryx2 subscriber")?);
        Ok(())
    }

    fn receive(&mut self, _: &Control, number: u64, buffer: &mut [u8]) -> Result<Received> {
        let subscriber = self.subscriber.as_ref().context("not prepared")?;
        let mut patience = Patience::new(Waiting::Spin, self.readers + 1);
        loop {
            if let Some(sample) = subscriber.receive().context("failed to receive with iceoryx2")? {
                let payload = sample.payload();
                if self.copies {
                    buffer.copy_from_slice(payload);
                }
                let received = Received { len: payload.len(), at: clock::now() };
                if self.whole && !self.copies {
                    buffer.copy_from_slice(payload);
                }
                return Ok(received);
            }
            match &self.listener {
                None => patience.pass(|| format!("for frame {number}"))?,
                Some(listener) => _ = listener.timed_wait(|_| {}, PATIENCE).context("failed to wait with iceoryx2")?,
            }
        }
    }

    fn copies(&self) -> bool {
        self.copies
    }
}
