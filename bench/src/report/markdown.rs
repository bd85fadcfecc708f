//! The tables for a document: sizes across, transports down.

use std::fmt::Write as _;

use super::units::{rate, ratio, size as bytes, time};
use crate::figures::{Cell, Figures, Peer, Rounds};

/// All tables, with the machine and the command that they come from.
pub(super) fn document(figures: &Figures) -> String {
    let settings = &figures.settings;
    let mut text = String::from(
        "# Benchmark figures\n\nWritten by the benchmark; [benchmarks.md](benchmarks.md) says how to read them.\n\n",
    );
    let _ =
        writeln!(text, "- `{}`, {} s, ring of {} MiB", settings.command, settings.seconds, settings.ring_bytes >> 20);
    for line in figures.machine.lines() {
        let _ = writeln!(text, "- {line}");
    }
    for peer in &figures.transports {
        for (how, reason) in [("skipped", &peer.skipped), ("failed", &peer.failed)] {
            if let Some(reason) = reason {
                let _ = writeln!(text, "- {how}: {}: {reason}", peer.name);
            }
        }
    }
    for readers in figures.fan_outs() {
        let who = if readers == 1 { "1 reader".to_owned() } else { format!("{readers} readers") };
        let _ = writeln!(text, "\n## One way, to {who}, {}\n", figures.rounds(readers));
        let latency = |peer: &Peer, cell: &Cell| cell_text(figures, peer, cell, |cell| &cell.latency_ns, &time);
        text += &matrix(figures, readers, latency);
        let _ = writeln!(text, "\n## Throughput, to {who}, {}\n", figures.rounds(readers));
        text += &matrix(figures, readers, |peer, cell| {
            cell_text(figures, peer, cell, |cell| &cell.frames_per_second, &|rounds| {
                rate(rounds, cell.size, peer.copies)
            })
        });
    }
    if figures.http.is_empty() {
        return text;
    }
    text += "\n## Allocation over HTTP\n\n| | p50 | to the bare handler | p99 | requests/s |\n|---|---|---|---|---|\n";
    for http in &figures.http {
        let bare = figures.http.iter().find(|other| other.name == http.reference);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.0} |",
            http.name,
            time(http.p50_ns.median()),
            ratio(bare.map_or(f64::NAN, |bare| http.p50_ns.ratio(&bare.p50_ns))),
            time(http.p99_ns.median()),
            http.requests_per_second.median(),
        );
    }
    text
}

fn matrix(figures: &Figures, readers: usize, cell_text: impl Fn(&Peer, &Cell) -> String) -> String {
    let sizes = figures.sizes(readers);
    let mut text = String::from("| | checksum |");
    for &size in &sizes {
        // Writing to a string does not fail.
        let _ = write!(text, " {} |", bytes(size));
    }
    let _ = writeln!(text, "\n|---|---|{}", "---|".repeat(sizes.len()));
    for peer in &figures.transports {
        let reason = peer.skipped.as_ref().map(|_| "skipped").or(peer.failed.as_ref().map(|_| "failed"));
        let version = if peer.version.is_empty() { String::new() } else { format!(" ({})", peer.version) };
        let _ = write!(text, "| {}{version} | {} |", peer.name, if peer.checksum { "verified" } else { "no" });
        for &size in &sizes {
            let cell = figures.cell(peer.id, size, readers).map(|cell| cell_text(peer, cell));
            let _ = write!(text, " {} |", cell.as_deref().or(reason).unwrap_or("-"));
        }
        text.push('\n');
    }
    text
}

/// A figure, and its ratio to ours.
fn cell_text(
    figures: &Figures,
    peer: &Peer,
    cell: &Cell,
    get: fn(&Cell) -> &Rounds,
    show: &dyn Fn(f64) -> String,
) -> String {
    let figure = format!("{} ±{:.0}%", show(get(cell).median()), get(cell).spread() * 100.0);
    let ours = figures.ours(peer.copies).filter(|ours| ours.id != peer.id);
    match ours.and_then(|ours| figures.cell(ours.id, cell.size, cell.readers)) {
        Some(ours) => format!("{figure}, {}", ratio(get(cell).ratio(get(ours)))),
        None => figure,
    }
}
