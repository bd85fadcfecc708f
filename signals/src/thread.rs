//! [`on_signals`]: for programs without a runtime.

use std::io;
use std::thread;

use signal_hook::iterator::Signals;

use crate::Signal;

/// From now on `signals` no longer end the process: a thread calls `act` with each that arrives. It may print, lock and
/// exit, as a signal handler may not. Those that are ignored stay so. Programs that this one starts get the signals'
/// usual effect.
///
/// # Errors
///
/// The system refuses the handlers or the thread.
pub fn on_signals(signals: &[Signal], mut act: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let heeded = signals.iter().filter(|signal| !signal.is_ignored());
    let mut caught = Signals::new(heeded.map(|signal| i32::from(signal.number())))?;
    let wait = move || {
        for number in caught.forever() {
            let signal = Signal::ALL.into_iter().find(|signal| i32::from(signal.number()) == number);
            signal.into_iter().for_each(&mut act);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use nix::sys::signal::{self, raise};

    use super::*;

    #[test]
    fn each_signal_is_acted_on() {
        let (sender, caught) = channel();
        crate::tests::heed_all_once();
        on_signals(&[Signal::Interrupt], move |signal| sender.send(signal).unwrap()).unwrap();
        for _ in 0..2 {
            raise(signal::Signal::SIGINT).unwrap();
            assert_eq!(caught.recv_timeout(Duration::from_secs(10)), Ok(Signal::Interrupt));
        }
    }
}
