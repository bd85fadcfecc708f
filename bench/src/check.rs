//! `framebuffer-bench check`: that every transport delivers the right bytes, at odd lengths, to one reader and to two.

use anyhow::{Context, Result, ensure};

use crate::folder::RunFolder;
use crate::group::Group;
use crate::orders::{Frames, Measure, Run};
use crate::transports::{self, Transport, ring};

/// Bytes of the ring: small, so that frames go around it.
const RING: u64 = 4 << 20;
/// The shortest frame, no multiple of anything, and more than any socket buffers.
const SIZES: [usize; 4] = [crate::payload::SHORTEST, 1001, 65_536 + 13, 1_500_000];

/// Move some frames through every transport, and compare every byte.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Transports to check; by default all
    transports: Vec<String>,
}

/// Checks them all. An error if one fails, or if none is there.
pub(crate) fn run(args: &Args) -> Result<()> {
    let chosen = transports::choose(&args.transports)?;
    let folder = RunFolder::new()?;
    let _ring = ring::create(folder.path(), RING)?;
    let mut failed = Vec::new();
    let mut delivered = 0;
    for transport in chosen {
        match (transport.available)() {
            Err(reason) => println!("{}: skipped: {reason:#}", transport.id),
            Ok(_) => match [1, 2].into_iter().try_for_each(|readers| deliver(transport, readers, &folder)) {
                Ok(()) => {
                    delivered += 1;
                    println!("{}: delivers", transport.id);
                }
                Err(error) => {
                    println!("{}: failed: {error:#}", transport.id);
                    failed.push(transport.id);
                }
            },
        }
        crate::interrupt::check()?;
    }
    ensure!(failed.is_empty(), "{} failed", failed.join(", "));
    ensure!(delivered > 0, "nothing was checked");
    Ok(())
}

fn deliver(transport: &'static Transport, readers: usize, folder: &RunFolder) -> Result<()> {
    let mut group = Group::start(transport, readers, folder)?;
    for size in SIZES {
        let window = if size > 1 << 20 { 2 } else { 8 };
        group.prepare(Frames { size, window, whole: true })?;
        for measure in [Measure::Latency, Measure::Throughput] {
            let run = Run { measure, warm: 2, count: 10 };
            group.run(run).with_context(|| format!("{size} bytes to {readers} readers"))?;
        }
    }
    group.finish()
}
