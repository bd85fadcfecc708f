//! [`Signals`]: for programs with a tokio runtime.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{self, SignalKind};

use crate::Signal;

/// From its creation on, the signals no longer end the process; each is kept until it is asked for.
#[derive(Debug)]
pub struct Signals {
    streams: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    /// Catches those of `signals` that are not ignored. Needs a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn catch(signals: &[Signal]) -> io::Result<Self> {
        let stream = |signal: &Signal| {
            let kind = SignalKind::from_raw(signal.number().into());
            unix::signal(kind).map(|stream| (*signal, stream))
        };
        Ok(Self {
            streams: signals.iter().filter(|signal| !signal.is_ignored()).map(stream).collect::<Result<_, _>>()?,
        })
    }

    /// Waits for the next one. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            let mut streams = self.streams.iter_mut();
            let caught = streams.find_map(|(signal, stream)| stream.poll_recv(context).is_ready().then_some(*signal));
            caught.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{self, raise};

    use super::*;

    #[test]
    fn a_caught_signal_is_kept_until_it_is_asked_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            crate::tests::heed_all_once();
            let mut signals = Signals::catch(&[Signal::Terminate, Signal::HangUp]).unwrap();
            raise(signal::Signal::SIGHUP).unwrap();
            assert_eq!(signals.next().await, Signal::HangUp);
            raise(signal::Signal::SIGTERM).unwrap();
            assert_eq!(signals.next().await, Signal::Terminate);
        });
    }
}
