//! Running commands that print only when they fail.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs `command` and returns its standard output; its standard error is in the error if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {}", shown(command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed ({}): {}", shown(command), output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The program's name and its arguments.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_an_error_with_its_arguments_and_its_last_words() {
        let error = output(Command::new("sh").args(["-c", "echo lost >&2; exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "sh -c echo lost >&2; exit 3 failed (exit status: 3): lost");
        let error = output(Command::new("no-such-program").arg("--quiet")).unwrap_err().to_string();
        assert_eq!(error, "failed to start no-such-program --quiet");
    }

    #[test]
    fn the_output_of_a_command_is_returned() {
        assert_eq!(output(Command::new("echo").arg("this")).unwrap(), "this\n");
    }
}
