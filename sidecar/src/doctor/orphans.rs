//! Rings that killed servers have left in the folder.

use std::fmt::Write as _;
use std::path::Path;

use framebuffer::Orphan;
use framebuffer_contract::Quantity;

use super::Check;

/// Names to print; the others are counted.
const NAMES: usize = 5;

/// Lists them; with `clean`, removes those that nobody will ask for.
pub(super) fn examine(dir: &Path, clean: bool) -> Vec<Check> {
    let name = dir.display();
    // Whoever cannot read the folder has read so already.
    let removed = if clean { framebuffer::remove_orphans(dir).unwrap_or_default() } else { Vec::new() };
    let Ok(found) = framebuffer::orphans(dir) else { return Vec::new() };
    let (lost, waiting): (Vec<_>, Vec<_>) = found.into_iter().partition(|orphan| orphan.is_lost);
    let mut checks = Vec::new();
    if !removed.is_empty() {
        checks.push(Check::ok(format!("removed {} of killed servers from {name}", described(&removed))));
    }
    if lost.is_empty() {
        checks.push(Check::ok(format!("no killed server has left a ring in {name} that nobody will ask for")));
    } else {
        let found = format!("killed servers have left {} in {name}", described(&lost));
        let advice = if clean {
            "they belong to other users, or have come into use since: run this as their user or as root"
        } else {
            "the next server that starts with this folder removes them, `doctor --clean` does so now"
        };
        checks.push(Check::warn(found, advice));
    }
    if !waiting.is_empty() {
        let (count, bytes) = (waiting.len(), sum(&waiting));
        checks.push(Check::ok(format!(
            "{} without a server in {name}, {bytes}: kept, or with a key that somebody gave, so the next server with \
             this key adopts or replaces it; delete the file if there will be none",
            rings(count)
        )));
    }
    checks
}

fn rings(count: usize) -> String {
    if count == 1 { "1 ring".to_owned() } else { format!("{count} rings") }
}

fn sum(orphans: &[Orphan]) -> Quantity {
    Quantity::from(orphans.iter().map(|orphan| orphan.bytes).sum::<u64>())
}

/// How many, how large, and how they are called.
fn described(orphans: &[Orphan]) -> String {
    let names: Vec<_> = orphans.iter().take(NAMES).map(|orphan| orphan.name.as_str()).collect();
    let mut text = format!("{}, {} ({}", rings(orphans.len()), sum(orphans), names.join(", "));
    if orphans.len() > NAMES {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {} more", orphans.len() - NAMES);
    }
    text + ")"
}
