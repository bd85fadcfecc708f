//! The table of parts and the last line.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use super::counts::Counts;

/// The result of a part.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The part's name.
    pub(crate) part: &'static str,
    /// Its tests.
    pub(crate) counts: Counts,
    /// Why it could not run.
    pub(crate) note: Option<String>,
    /// How long it took to install and build what it needs, and keep it for later runs.
    pub(crate) setup: Duration,
    /// How long the rest took.
    pub(crate) time: Duration,
}

/// Prints the table and, as the very last line, the sum.
pub(crate) fn print(outcomes: &[Outcome]) -> ExitCode {
    println!("\n{}", table(outcomes));
    let total = total(outcomes);
    println!("{total}");
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn total(outcomes: &[Outcome]) -> Counts {
    outcomes.iter().map(|outcome| outcome.counts).sum()
}

/// A row for each part, and one for all of them.
fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let columns = ["passed", "failed", "skipped", "set-up", "time"].map(String::from);
    write_row(&mut text, "part", &columns, None);
    for Outcome { part, counts, note, setup, time } in outcomes {
        write_row(&mut text, part, &cells(*counts, *setup, *time), note.as_deref());
    }
    let sum = |of: fn(&Outcome) -> Duration| outcomes.iter().map(of).sum();
    let cells = cells(total(outcomes), sum(|outcome| outcome.setup), sum(|outcome| outcome.time));
    write_row(&mut text, "all", &cells, None);
    text
}

fn cells(counts: Counts, setup: Duration, took: Duration) -> [String; 5] {
    let Counts { passed, failed, skipped } = counts;
    [passed.to_string(), failed.to_string(), skipped.to_string(), time(setup), time(took)]
}

fn write_row(text: &mut String, part: &str, cells: &[String; 5], note: Option<&str>) {
    let [passed, failed, skipped, setup, time] = cells;
    let _ = write!(text, "{part:<12}{passed:>8}{failed:>8}{skipped:>9}{setup:>13}{time:>13}");
    // The first line only: the whole note was printed when the part failed.
    if let Some(line) = note.and_then(|note| note.lines().next()) {
        text.extend(["  ", line]);
    }
    text.push('\n');
}

/// A duration for people: `4.2 s`, `3 min 05 s`.
pub(crate) fn time(duration: Duration) -> String {
    if duration.as_secs() < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_part_and_one_for_all() {
        let unit = Outcome {
            part: "unit",
            counts: Counts { passed: 41, failed: 0, skipped: 2 },
            note: None,
            setup: Duration::ZERO,
            time: Duration::from_millis(4240),
        };
        let fuzz = Outcome {
            part: "fuzz",
            counts: Counts::FAILED,
            note: Some("cargo-fuzz is missing\nhere is how".into()),
            setup: Duration::from_mins(1),
            time: Duration::from_secs(185),
        };
        let rows = [
            "part          passed  failed  skipped       set-up         time",
            "unit              41       0        2        0.0 s        4.2 s",
            "fuzz               0       1        0   1 min 00 s   3 min 05 s  cargo-fuzz is missing",
            "all               41       1        2   1 min 00 s   3 min 09 s",
        ];
        let table = table(&[unit, fuzz]);
        assert_eq!(table.lines().collect::<Vec<_>>(), rows);
    }

    #[test]
    fn the_sum_names_skipped_tests_only_if_there_are_any() {
        assert_eq!(Counts { passed: 3, failed: 1, skipped: 0 }.to_string(), "3 passed, 1 failed");
        assert_eq!((Counts::PASSED + Counts::SKIPPED).to_string(), "1 passed, 0 failed, 1 skipped");
    }
}
