//! The table of parts and the last line.

use std::process::ExitCode;
use std::time::Duration;

use super::counts::Counts;

/// What came of a part.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The part's name.
    pub(crate) part: &'static str,
    /// Its tests.
    pub(crate) counts: Counts,
    /// Why it could not run.
    pub(crate) note: Option<String>,
    /// How long it took.
    pub(crate) time: Duration,
}

/// Prints the table and, as the very last line, the sum.
pub(crate) fn print(outcomes: &[Outcome]) -> ExitCode {
    println!("\n{}", table(outcomes));
    let total: Counts = outcomes.iter().map(|outcome| outcome.counts).sum();
    println!("{total}");
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<12}{:>8}{:>8}{:>9}{:>13}\n", "part", "passed", "failed", "skipped", "time");
    for Outcome { part, counts, note, time: took } in outcomes {
        let Counts { passed, failed, skipped } = counts;
        let row = format!("{part:<12}{passed:>8}{failed:>8}{skipped:>9}{:>13}", time(*took));
        text += &row;
        // The first line: a note of several lines was printed whole where it arose.
        if let Some(line) = note.as_deref().and_then(|note| note.lines().next()) {
            text.extend(["  ", line]);
        }
        text.push('\n');
    }
    text
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
    fn the_table_has_a_row_for_each_part() {
        let unit = Outcome {
            part: "unit",
            counts: Counts { passed: 41, failed: 0, skipped: 2 },
            note: None,
            time: Duration::from_millis(4240),
        };
        let fuzz = Outcome {
            part: "fuzz",
            counts: Counts::FAILED,
            note: Some("cargo-fuzz is missing\nhere is how".into()),
            time: Duration::from_secs(185),
        };
        let rows = [
            "part          passed  failed  skipped         time",
            "unit              41       0        2        4.2 s",
            "fuzz               0       1        0   3 min 05 s  cargo-fuzz is missing",
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
