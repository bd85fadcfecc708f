//! [`Figures`]: the results of a run, as `--json` writes them. docs/benchmarks.md describes the fields.

use serde::Serialize;

use crate::machine::Machine;
use crate::transports::Transport;
use crate::wait::Waiting;

/// All results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Changes when a field changes its meaning.
    pub(crate) schema: u32,
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    pub(crate) transports: Vec<Peer>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) http: Vec<Http>,
}

/// How it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    /// The command that was run.
    pub(crate) command: String,
    pub(crate) ring_bytes: u64,
    /// Frames in flight at most, in throughput runs.
    pub(crate) window: u64,
    /// How long the measurement took.
    pub(crate) seconds: u64,
}

/// A transport.
#[derive(Debug, Serialize)]
pub(crate) struct Peer {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) ours: bool,
    pub(crate) copies: bool,
    pub(crate) checksum: bool,
    pub(crate) waiting: Waiting,
    /// Empty if it has none of its own.
    pub(crate) version: String,
    /// Why it can't run here, and how to install it.
    pub(crate) skipped: Option<String>,
    /// The error that put it out.
    pub(crate) failed: Option<String>,
}

impl Peer {
    /// Looks whether it can run here.
    pub(crate) fn new(transport: &'static Transport) -> Self {
        let &Transport { id, name, ours, copies, checksum, waiting, ends: _, server: _, available } = transport;
        let (version, skipped) = match available() {
            Ok(version) => (version, None),
            Err(reason) => (String::new(), Some(format!("{reason:#}"))),
        };
        Self { id, name, ours, copies, checksum, waiting, version, skipped, failed: None }
    }

    /// Whether it can still be measured.
    pub(crate) fn is_there(&self) -> bool {
        self.skipped.is_none() && self.failed.is_none()
    }
}

/// One transport, size and number of readers.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) transport: &'static str,
    pub(crate) size: usize,
    pub(crate) readers: usize,
    /// One way, nanoseconds: each round's median.
    pub(crate) latency_ns: Rounds,
    /// The same, each round's 99th percentile.
    pub(crate) latency_p99_ns: Rounds,
    /// To each reader, each round's mean.
    pub(crate) frames_per_second: Rounds,
}

/// An allocation over HTTP.
#[derive(Debug, Serialize)]
pub(crate) struct Http {
    pub(crate) name: &'static str,
    /// Which of them it is compared with.
    pub(crate) reference: &'static str,
    /// One request after the other, nanoseconds.
    pub(crate) p50_ns: Rounds,
    pub(crate) p99_ns: Rounds,
    /// On 16 connections at once.
    pub(crate) requests_per_second: Rounds,
}

/// The figure of each round, in their order.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// The spread of the rounds' figures: half the distance between the first and the third quartile, relative to the
    /// median.
    pub(crate) fn spread(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
        (sorted[last - last / 4] - sorted[last / 4]) / 2.0 / self.median()
    }

    /// The median of the rounds' ratios to `other`: a disturbance that hits both in one round cancels out.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(one, other)| one / other).collect())
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => figures[len / 2],
        len => f64::midpoint(figures[len / 2 - 1], figures[len / 2]),
    }
}

/// The figure below which `part` of them are.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> f64 {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).map_or(f64::NAN, |&figure| figure as f64)
}

impl Figures {
    /// The cell of a transport.
    pub(crate) fn cell(&self, transport: &str, size: usize, readers: usize) -> Option<&Cell> {
        let same = |cell: &&Cell| cell.transport == transport && cell.size == size && cell.readers == readers;
        self.cells.iter().find(same)
    }

    /// Ours with which others of its kind are compared.
    pub(crate) fn ours(&self, copies: bool) -> Option<&Peer> {
        self.transports.iter().find(|peer| peer.ours && peer.copies == copies)
    }

    /// The sizes that were measured, in order.
    pub(crate) fn sizes(&self, readers: usize) -> Vec<usize> {
        let mut sizes: Vec<usize> =
            self.cells.iter().filter(|cell| cell.readers == readers).map(|cell| cell.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// How many rounds there were with so many readers, for people.
    pub(crate) fn rounds(&self, readers: usize) -> String {
        let cells = self.cells.iter().filter(|cell| cell.readers == readers);
        match cells.map(|cell| cell.latency_ns.0.len()).max().unwrap_or_default() {
            1 => "1 round".to_owned(),
            rounds => format!("{rounds} rounds"),
        }
    }

    /// The numbers of readers that were measured, in order.
    pub(crate) fn fan_outs(&self) -> Vec<usize> {
        let mut readers: Vec<usize> = self.cells.iter().map(|cell| cell.readers).collect();
        readers.sort_unstable();
        readers.dedup();
        readers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(figures: &[f64]) -> Rounds {
        Rounds(figures.to_vec())
    }

    #[test]
    fn the_median_and_the_spread_ignore_one_round_that_was_disturbed() {
        let calm = rounds(&[10.0, 11.0, 9.0, 10.0, 500.0]);
        assert!((calm.median() - 10.0).abs() < 1e-9);
        assert!((calm.spread() - 0.05).abs() < 1e-9, "{}", calm.spread());
    }

    #[test]
    fn a_ratio_compares_figures_of_the_same_round() {
        let ours = rounds(&[10.0, 100.0, 20.0]);
        let theirs = rounds(&[20.0, 200.0, 40.0]);
        assert!((theirs.ratio(&ours) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn percentiles_of_few_figures_are_among_them() {
        assert!((percentile(&[5], 0.99) - 5.0).abs() < 1e-9);
        let hundred: Vec<u64> = (0..100).collect();
        assert!((percentile(&hundred, 0.5) - 50.0).abs() < 1e-9);
        assert!((percentile(&hundred, 0.99) - 99.0).abs() < 1e-9);
    }
}
