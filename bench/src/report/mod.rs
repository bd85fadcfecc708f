//! What a run shows: a table for the terminal, and files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

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

fn save(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
