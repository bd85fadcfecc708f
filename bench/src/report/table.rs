//! The table for the terminal: a block for each number of readers and size, a row for each transport.

use std::fmt::Write as _;

use super::units::{rate, ratio, size as bytes, time};
use crate::figures::{Cell, Figures, Peer, Rounds};

/// The whole report.
pub(crate) fn table(figures: &Figures) -> String {
    let mut text = String::new();
    for line in figures.machine.lines() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    }
    let settings = &figures.settings;
    let _ = writeln!(
        text,
        "{}: {} s, ring of {} MiB, {} frames in flight for throughput\n",
        settings.command,
        settings.seconds,
        settings.ring_bytes >> 20,
        settings.window
    );
    let _ = writeln!(
        text,
        "{:<40}{:<9}{:>10} {:>5}{:>10}{:>8}{:>8}{:>14} {:>5}{:>8}{:>8}",
        "", "checksum", "one way", "+-", "p99", "/ours", "/memcpy", "throughput", "+-", "/ours", "/memcpy"
    );
    for readers in figures.fan_outs() {
        for size in figures.sizes(readers) {
            let who = if readers == 1 { "1 reader".to_owned() } else { format!("{readers} readers") };
            let _ = writeln!(text, "\n{} to {who}, {}", bytes(size), figures.rounds(readers));
            for peer in &figures.transports {
                if let Some(cell) = figures.cell(peer.id, size, readers) {
                    text += &row(figures, peer, cell);
                }
            }
        }
    }
    text + &http(figures) + &left_out(figures)
}

fn row(figures: &Figures, peer: &Peer, cell: &Cell) -> String {
    let other = |id| figures.cell(id, cell.size, cell.readers);
    let ours = figures.ours(peer.copies).and_then(|ours| other(ours.id));
    let memcpy = other("memcpy");
    let compare = |get: fn(&Cell) -> &Rounds, other: Option<&Cell>| {
        ratio(other.map_or(f64::NAN, |other| get(cell).ratio(get(other))))
    };
    // Frames that nobody copies cannot be compared with copies by their rate.
    let memcpy_rate = memcpy.filter(|_| peer.copies);
    format!(
        "  {:<38}{:<9}{:>10} {:>5}{:>10}{:>8}{:>8}{:>14} {:>5}{:>8}{:>8}\n",
        peer.name,
        if peer.checksum { "verified" } else { "no" },
        time(cell.latency_ns.median()),
        percent(&cell.latency_ns),
        time(cell.latency_p99_ns.median()),
        compare(|cell| &cell.latency_ns, ours),
        compare(|cell| &cell.latency_ns, memcpy),
        rate(cell.frames_per_second.median(), cell.size, peer.copies),
        percent(&cell.frames_per_second),
        compare(|cell| &cell.frames_per_second, ours),
        compare(|cell| &cell.frames_per_second, memcpy_rate),
    )
}

fn percent(rounds: &Rounds) -> String {
    format!("{:.0}%", rounds.spread() * 100.0)
}

fn http(figures: &Figures) -> String {
    if figures.http.is_empty() {
        return String::new();
    }
    let mut text =
        format!("\n{:<40}{:>19} {:>5}{:>10}{:>8}{:>22} {:>5}\n", "HTTP", "p50", "+-", "p99", "/bare", "requests", "+-");
    for http in &figures.http {
        let bare = figures.http.iter().find(|other| other.name == http.reference);
        let _ = writeln!(
            text,
            "  {:<38}{:>19} {:>5}{:>10}{:>8}{:>20}/s {:>5}",
            http.name,
            time(http.p50_ns.median()),
            percent(&http.p50_ns),
            time(http.p99_ns.median()),
            ratio(bare.map_or(f64::NAN, |bare| http.p50_ns.ratio(&bare.p50_ns))),
            format!("{:.0}", http.requests_per_second.median()),
            percent(&http.requests_per_second),
        );
    }
    text
}

/// The transports that are not in the table, and why.
fn left_out(figures: &Figures) -> String {
    let mut text = String::new();
    for peer in &figures.transports {
        if let Some(reason) = &peer.skipped {
            let _ = writeln!(text, "\nskipped: {}: {reason}", peer.name);
        }
        if let Some(reason) = &peer.failed {
            let _ = writeln!(text, "\nfailed: {}: {reason}", peer.name);
        }
    }
    text
}
