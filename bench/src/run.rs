//! `framebuffer-bench run`: rounds over all transports, sizes and numbers of readers.
//!
//! Within a round, the transports take turns at each size, so that a disturbance by the machine hits all of them alike;
//! each round starts with a different one. All processes live from the first round to the last, asleep between their
//! turns.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::control::MOST_READERS;
use crate::figures::{Cell, Figures, Peer, Rounds, Settings, percentile};
use crate::folder::RunFolder;
use crate::group::Group;
use crate::machine::Machine;
use crate::orders::{Frames, Measure, Run};
use crate::transports::{self, Transport, ring};
use crate::{http, interrupt, report};

/// 4 KiB, 64 KiB, 1 MiB, 1080p and 4K in RGB.
const SIZES: [usize; 5] = [4 << 10, 64 << 10, 1 << 20, 1920 * 1080 * 3, 3840 * 2160 * 3];
/// Frames in flight at once in throughput runs.
const WINDOW: u64 = 8;
/// Frames before the measured ones, after a change of size: they touch all memory that frames go through.
const WARM: u64 = WINDOW + 2;

/// The command for this without `cargo xtask`.
const CALLED: &str = "framebuffer-bench run";
/// The ring's size in MiB.
const RING: u64 = 512;
/// The name of the allocation over HTTP, which is no transport.
const HTTP: &str = "http";

/// Measure all transports and print a table.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take one minute instead of ten, with coarser figures
    #[arg(long)]
    quick: bool,
    /// Write all figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a chart into this file, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Write the tables to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Only this transport, or `http`; may be repeated. Ratios need ours and memcpy as well
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only frames of this size, in bytes; may be repeated
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=64 << 20))]
    size: Vec<u32>,
    /// Only this number of readers
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=MOST_READERS as i64))]
    readers: Option<u8>,
    /// Size of our ring in MiB
    #[arg(long, value_name = "MIB", default_value_t = RING, value_parser = clap::value_parser!(u64).range(1..=65536))]
    ring: u64,
    /// The command that the report names
    #[arg(long, hide = true, default_value = CALLED)]
    called: String,
}

/// The extent of the measurement.
struct Plan {
    /// Numbers of readers, with the sizes for each and the time by which its rounds must end.
    fan_outs: Vec<(usize, Vec<usize>, Duration)>,
    /// Rounds, if there is time.
    rounds: usize,
    /// The time that one run should take.
    target: Duration,
    http_rounds: usize,
}

impl Plan {
    fn new(args: &Args) -> Self {
        let mut plan = if args.quick { Self::quick() } else { Self::whole() };
        if let Some(readers) = args.readers {
            let until = plan.fan_outs.last().map_or(Duration::ZERO, |fan_out| fan_out.2);
            plan.fan_outs = vec![(usize::from(readers), SIZES.to_vec(), until)];
        }
        if !args.size.is_empty() {
            plan.fan_outs
                .iter_mut()
                .for_each(|fan_out| fan_out.1 = args.size.iter().map(|&size| size as usize).collect());
        }
        plan
    }

    /// Checks that frames stay in the ring until their reader has them, however many are in flight.
    fn check(&self, ring: u64) -> Result<()> {
        let largest = self.fan_outs.iter().flat_map(|fan_out| &fan_out.1).max().copied().unwrap_or_default() as u64;
        let least = 2 * WINDOW * largest;
        ensure!(
            ring >= least,
            "a ring of {ring} bytes is too small for {WINDOW} frames of {largest} bytes in flight: it takes {least}"
        );
        Ok(())
    }

    /// A minute.
    fn quick() -> Self {
        let seconds = Duration::from_secs;
        let few = vec![SIZES[1], SIZES[3]];
        let fan_outs = vec![(1, SIZES.to_vec(), seconds(36)), (4, few, seconds(50))];
        Self { fan_outs, rounds: 5, target: Duration::from_millis(15), http_rounds: 5 }
    }

    /// Ten minutes.
    fn whole() -> Self {
        let seconds = Duration::from_secs;
        let fan_outs = vec![(1, SIZES.to_vec(), seconds(250)), (4, SIZES.to_vec(), seconds(530))];
        Self { fan_outs, rounds: 9, target: Duration::from_millis(150), http_rounds: 20 }
    }
}

/// Measures everything.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let plan = Plan::new(args);
    let (http, only): (Vec<_>, Vec<_>) = args.only.iter().cloned().partition(|name| name == HTTP);
    let chosen = if only.is_empty() && !http.is_empty() { Vec::new() } else { transports::choose(&only)? };
    plan.check(args.ring << 20)?;
    // Ten minutes later is too late to learn it.
    [&args.json, &args.plot, &args.markdown].into_iter().flatten().try_for_each(|file| report::check_folder(file))?;
    let mut figures = Figures {
        schema: 1,
        machine: Machine::describe(),
        settings: Settings { command: command_line(args), ring_bytes: args.ring << 20, window: WINDOW, seconds: 0 },
        transports: chosen.iter().map(|transport| Peer::new(transport)).collect(),
        cells: Vec::new(),
        http: Vec::new(),
    };
    let folder = RunFolder::new()?;
    let mut bench = Bench { figures: &mut figures, folder: &folder, begun, plan: &plan };
    let ring = ring::create(folder.path(), args.ring << 20)?;
    for (readers, sizes, until) in &plan.fan_outs {
        bench.fan_out(*readers, sizes, *until)?;
    }
    drop(ring);
    if args.only.is_empty() || !http.is_empty() {
        figures.http = http::measure(&folder, plan.http_rounds)?;
    }
    progress("");
    figures.settings.seconds = begun.elapsed().as_secs();
    drop(folder);
    print!("{}", report::table(&figures));
    report::write(&figures, args.json.as_deref(), args.markdown.as_deref(), args.plot.as_deref())?;
    let failed: Vec<&str> =
        figures.transports.iter().filter(|peer| peer.failed.is_some()).map(|peer| peer.id).collect();
    ensure!(failed.is_empty(), "{} failed", failed.join(", "));
    Ok(())
}

/// The command that gives the same figures again, without the files that they went to.
fn command_line(args: &Args) -> String {
    let mut words = vec![args.called.clone()];
    words.extend(args.quick.then(|| "--quick".to_owned()));
    let mut more: Vec<String> = args.only.iter().map(|only| format!("--only {only}")).collect();
    more.extend(args.size.iter().map(|size| format!("--size {size}")));
    more.extend(args.readers.map(|readers| format!("--readers {readers}")));
    more.extend((args.ring != RING).then(|| format!("--ring {}", args.ring)));
    if !more.is_empty() && args.called != CALLED {
        // cargo xtask takes only some flags itself.
        words.push("--".to_owned());
    }
    words.extend(more);
    words.join(" ")
}

/// Shows the progress on a terminal.
fn progress(what: &str) {
    let mut stderr = std::io::stderr();
    if std::io::IsTerminal::is_terminal(&stderr) {
        // An error does no harm.
        let _ = write!(stderr, "\r\x1b[K{what}");
        let _ = stderr.flush();
    }
}

struct Bench<'b> {
    figures: &'b mut Figures,
    folder: &'b RunFolder,
    begun: Instant,
    plan: &'b Plan,
}

/// How many frames fill the time of one run.
struct Counts {
    latency: u64,
    throughput: u64,
}

impl Bench<'_> {
    /// All rounds with so many readers. The first is thrown away: it finds out how many frames fill the time.
    fn fan_out(&mut self, readers: usize, sizes: &[usize], until: Duration) -> Result<()> {
        let mut groups = self.start(readers)?;
        let mut counts: BTreeMap<(&str, usize), Counts> = BTreeMap::new();
        let mut longest = Duration::ZERO;
        for round in 0..=self.plan.rounds {
            let started = Instant::now();
            // One measured round there is in any case.
            if round > 1 && self.begun.elapsed() + longest > until {
                break;
            }
            for &size in sizes {
                let mut still = Vec::new();
                let len = groups.len().max(1);
                groups.rotate_left(round % len);
                for mut group in groups {
                    let transport = group.transport();
                    progress(&format!("{readers} readers, round {round}, {size} bytes, {}", transport.name));
                    let known = counts.get(&(transport.id, size));
                    match self.turn(&mut group, size, readers, known) {
                        Ok(found) => {
                            counts.entry((transport.id, size)).or_insert(found);
                            still.push(group);
                        }
                        Err(error) => self.failed(transport, &error)?,
                    }
                }
                groups = still;
            }
            longest = longest.max(started.elapsed());
        }
        groups.into_iter().try_for_each(Group::finish)
    }

    fn start(&mut self, readers: usize) -> Result<Vec<Group>> {
        let ids: Vec<&str> =
            self.figures.transports.iter().filter(|peer| peer.is_there()).map(|peer| peer.id).collect();
        let mut groups = Vec::new();
        for id in ids {
            let transport = Transport::find(id)?;
            match Group::start(transport, readers, self.folder) {
                Ok(group) => groups.push(group),
                Err(error) => self.failed(transport, &error)?,
            }
        }
        Ok(groups)
    }

    /// Notes that a transport is out, unless somebody has interrupted.
    fn failed(&mut self, transport: &Transport, error: &anyhow::Error) -> Result<()> {
        interrupt::check()?;
        progress("");
        eprintln!("{} is left out from now on: {error:#}", transport.name);
        let peer = self.figures.transports.iter_mut().find(|peer| peer.id == transport.id);
        peer.context("a transport that was not chosen")?.failed = Some(format!("{error:#}"));
        Ok(())
    }

    /// One turn of one transport: both measures. Without known counts, it only determines them.
    fn turn(&mut self, group: &mut Group, size: usize, readers: usize, known: Option<&Counts>) -> Result<Counts> {
        group.prepare(Frames { size, window: WINDOW, whole: false })?;
        let target = self.plan.target;
        let Some(&Counts { latency, throughput }) = known else {
            let count = if size > 1 << 20 { 2 } else { 20 };
            let run = group.run(Run { measure: Measure::Latency, warm: 1, count })?;
            let each = run.wall.as_secs_f64() / (count + 1) as f64;
            let fill = (target.as_secs_f64() / each) as u64;
            // With several in flight, each takes less.
            return Ok(Counts { latency: fill.clamp(4, 5_000), throughput: (2 * fill).clamp(8, 20_000) });
        };
        let fast = group.run(Run { measure: Measure::Throughput, warm: WARM, count: throughput })?;
        let mut slow = group.run(Run { measure: Measure::Latency, warm: 2 + latency / 20, count: latency })?.latencies;
        slow.sort_unstable();
        let cell = self.cell(group.transport().id, size, readers);
        cell.frames_per_second.push(throughput as f64 * 1e9 / fast.took as f64);
        cell.latency_ns.push(percentile(&slow, 0.5));
        cell.latency_p99_ns.push(percentile(&slow, 0.99));
        Ok(Counts { latency, throughput })
    }

    fn cell(&mut self, transport: &'static str, size: usize, readers: usize) -> &mut Cell {
        let cells = &mut self.figures.cells;
        let same = |cell: &Cell| cell.transport == transport && cell.size == size && cell.readers == readers;
        let index = cells.iter().position(same).unwrap_or_else(|| {
            let [latency_ns, latency_p99_ns, frames_per_second] = <[Rounds; 3]>::default();
            cells.push(Cell { transport, size, readers, latency_ns, latency_p99_ns, frames_per_second });
            cells.len() - 1
        });
        &mut cells[index]
    }
}
