//! Programs that tests run: kubectl, helm, ffmpeg. They must be in `PATH`.

use std::process::{Command, Output};

/// Runs kubectl, gives its standard output.
pub fn kubectl(arguments: &[&str]) -> String {
    succeed("kubectl", arguments)
}

/// Runs helm, gives its standard output.
pub fn helm(arguments: &[&str]) -> String {
    succeed("helm", arguments)
}

/// Runs a program that must succeed, gives its standard output.
pub fn succeed(program: &str, arguments: &[&str]) -> String {
    let output = output(program, arguments);
    assert!(
        output.status.success(),
        "{program} {} failed with {}:\n{}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the output is UTF-8")
}

/// Runs a program that may fail.
pub fn output(program: &str, arguments: &[&str]) -> Output {
    let started = Command::new(program).args(arguments).output();
    started.unwrap_or_else(|error| panic!("failed to start {program}: {error}"))
}

/// Runs blocking work, such as a program, on another thread, so that the test's other futures go on.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}
