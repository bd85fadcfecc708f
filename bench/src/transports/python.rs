//! Python's `multiprocessing.shared_memory`: slots of shared memory and a spinning word, by `shared_memory.py`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Ends, Transport, version_of};
use crate::wait::Waiting;

const PROGRAM: &str = "python3";
const SCRIPT: &str = include_str!("shared_memory.py");
const SCRIPT_NAME: &str = "shared_memory.py";

pub(super) const SHARED_MEMORY: Transport = Transport {
    id: "python",
    name: "Python shared_memory",
    ours: false,
    copies: true,
    checksum: false,
    waiting: Waiting::Spin,
    ends: Ends::Python,
    server: None,
    available: || version_of(PROGRAM, "on Debian: apt-get install python3"),
};

/// Puts the script into a group's folder and returns the command that runs it: as a reader, or as the writer.
pub(crate) fn command(dir: &Path, readers: usize, reader: Option<usize>) -> Result<Command> {
    let script = dir.join(SCRIPT_NAME);
    fs::write(&script, SCRIPT).context("failed to write the Python script")?;
    let mut command = Command::new(PROGRAM);
    command.arg("-u").arg(script).arg(dir).arg(readers.to_string());
    command.args(reader.map(|reader| reader.to_string()));
    Ok(command)
}
