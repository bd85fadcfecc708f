//! The output of a run: a table for the terminal, and files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::figures::Figures;
pub(crate) use table::table;

mod markdown;
mod plot;
mod table;
mod units;

/// Writes the files that were asked for.
///
/// # Errors
///
/// If one can't be written.
pub(crate) fn write(
    figures: &Figures,
    json: Option<&Path>,
    markdown: Option<&Path>,
    plot: Option<&Path>,
) -> Result<()> {
    if let Some(path) = json {
        save(path, &(serde_json::to_string_pretty(figures).context("failed to encode the figures")? + "\n"))?;
    }
    if let Some(path) = markdown {
        save(path, &markdown::document(figures))?;
    }
    if let Some(path) = plot {
        save(path, &plot::chart(figures)?)?;
    }
    Ok(())
}

/// An error if the folder of a file is not there.
///
/// # Errors
///
/// As it says.
pub(crate) fn check_folder(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "{} can't be written: {} is no folder", file.display(), folder.display());
    ensure!(!file.is_dir(), "{} can't be written: it is a folder", file.display());
    Ok(())
}

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Cell, Peer, Rounds, Settings};
    use crate::machine::Machine;
    use crate::transports::ALL;

    fn rounds(figures: [f64; 3]) -> Rounds {
        let mut rounds = Rounds::default();
        for figure in figures {
            rounds.push(figure);
        }
        rounds
    }

    /// All transports, each twice as slow as the one before; Redis is missing.
    fn figures() -> Figures {
        let mut transports: Vec<Peer> = ALL.iter().map(Peer::new).collect();
        let mut cells = Vec::new();
        for (index, peer) in transports.iter_mut().enumerate() {
            peer.skipped = (peer.id == "redis").then(|| "not here; to get it: ask".to_owned());
            let time = 1000.0 * (1_u64 << index) as f64;
            for size in [4096, 6_220_800] {
                cells.extend(peer.is_there().then(|| Cell {
                    transport: peer.id,
                    size,
                    readers: 1,
                    latency_ns: rounds([time, time * 1.1, time * 0.9]),
                    latency_p99_ns: rounds([time * 2.0; 3]),
                    frames_per_second: rounds([1e9 / time; 3]),
                }));
            }
        }
        let settings = Settings { command: "a command".to_owned(), ring_bytes: 1 << 29, window: 8, seconds: 5 };
        Figures { schema: 1, machine: Machine::describe(), settings, transports, cells, http: Vec::new() }
    }

    #[test]
    fn every_report_names_all_transports_and_why_one_is_missing() {
        let figures = figures();
        for text in [table(&figures), markdown::document(&figures)] {
            assert!(text.contains("skipped: Redis, PUBLISH, Unix socket: not here; to get it: ask"), "{text}");
            assert!(ALL.iter().all(|transport| text.contains(transport.name)), "{text}");
        }
        let chart = plot::chart(&figures).unwrap();
        let named = ALL.iter().filter(|transport| chart.contains(transport.name)).count();
        assert_eq!(named, ALL.len() - 1);
    }

    #[test]
    fn a_row_has_its_ratio_to_ours_of_the_same_kind() {
        let text = table(&figures());
        let row = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        let words = |name: &str| row(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        // iceoryx2 in place is the eighth, ours in place the third: five times twice as slow.
        assert!(words("iceoryx2, in place").contains(&"32.0x".to_owned()), "{text}");
        assert!(words("iceoryx2, copy").contains(&"64.0x".to_owned()), "{text}");
        assert!(words("iceoryx2, copy").contains(&"0.02x".to_owned()), "{text}");
    }

    #[test]
    fn nothing_measured_is_no_chart_but_an_error() {
        let nothing = Figures { cells: Vec::new(), ..figures() };
        let error = plot::chart(&nothing).unwrap_err().to_string();
        assert!(error.contains("nothing was measured"), "{error}");
    }
}
