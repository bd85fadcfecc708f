//! Finds lines that are longer than `.editorconfig` allows, in Rust and Markdown: rustfmt breaks neither comments nor
//! strings.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::counts::Counts;

/// The most characters of a line, as `max_line_length` in `.editorconfig` and `max_width` in `rustfmt.toml`.
const MOST: usize = 120;
/// The folder of cargo's builds.
const BUILT: &str = "target";

/// The languages whose lines are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    Markdown,
}

/// Checks all files below `root`, and prints the lines that are too long.
pub(super) fn check(root: &Path) -> Result<Counts> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut counts = Counts::PASSED;
    for (file, language) in files {
        let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        for (line, length) in too_long(&text, language) {
            let file = file.strip_prefix(root).unwrap_or(&file).display();
            println!("{file}:{line}: {length} characters, {MOST} are the most");
            counts = Counts::FAILED;
        }
    }
    Ok(counts)
}

/// Adds all files with a [`Language`] below `folder`, except in hidden folders and those of cargo.
fn collect(folder: &Path, files: &mut Vec<(PathBuf, Language)>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("failed to list {}", folder.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && name != BUILT && !name.to_string_lossy().starts_with('.') {
            collect(&path, files)?;
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => files.push((path, Language::Rust)),
            Some("md") => files.push((path, Language::Markdown)),
            _ => {}
        }
    }
    Ok(())
}

/// The numbers and the lengths, in characters, of the lines that are too long and could be broken.
fn too_long(text: &str, language: Language) -> Vec<(usize, usize)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line, line.chars().count()));
    let long = numbered.filter(|(_, line, length)| *length > MOST && !is_unbreakable(line, language));
    long.map(|(number, _, length)| (number, length)).collect()
}

/// Whether a line has to stay as long as it is: a row of a table, which Markdown (in documentation comments, too) ends
/// with the line; or an address that stands alone behind its marker (`-`, `///`) or its label (`[name]:`), so that no
/// break would make it shorter.
fn is_unbreakable(line: &str, language: Language) -> bool {
    let line = line.trim();
    let markdown = match language {
        Language::Markdown => Some(line),
        Language::Rust => line.strip_prefix("//!").or_else(|| line.strip_prefix("///")).map(str::trim_start),
    };
    if markdown.is_some_and(|text| text.starts_with('|')) {
        return true;
    }
    let (before, last) = line.rsplit_once(' ').unwrap_or(("", line));
    let is_marker = |word: &str| word.starts_with('[') && word.ends_with("]:") || !word.contains(char::is_alphabetic);
    last.contains("://") && before.split_whitespace().all(is_marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_named_with_its_number_and_length() {
        let text = format!("short\n{}\n// {}\n", "x".repeat(MOST), "words ".repeat(20));
        assert_eq!(too_long(&text, Language::Rust), [(3, 123)]);
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        assert_eq!(too_long(&"ä".repeat(MOST), Language::Markdown), []);
        assert_eq!(too_long(&"ä".repeat(MOST + 1), Language::Markdown), [(1, MOST + 1)]);
    }

    #[test]
    fn tables_are_excepted_in_markdown_and_in_documentation_only() {
        let row = format!("| a | {} |", "word ".repeat(30));
        assert_eq!(too_long(&row, Language::Markdown), []);
        for documentation in ["//! ", "    /// "] {
            assert_eq!(too_long(&format!("{documentation}{row}"), Language::Rust), []);
        }
        for code in ["", "// "] {
            assert_eq!(too_long(&format!("{code}{row}"), Language::Rust).len(), 1);
        }
    }

    #[test]
    fn an_address_that_stands_alone_is_excepted_and_one_within_words_is_not() {
        let address = format!("https://example.com/{}", "x".repeat(MOST));
        for alone in ["", "- ", "//! ", "/// [`label`]: ", "[label]: ", "  1. ", "> "] {
            assert_eq!(too_long(&format!("{alone}{address}"), Language::Rust), [], "{alone}");
        }
        for (before, after) in [("see ", ""), ("- see ", ""), ("", " for more"), ("[label]: see ", "")] {
            assert_eq!(too_long(&format!("{before}{address}{after}"), Language::Rust).len(), 1, "{before}{after}");
        }
    }

    #[test]
    fn files_of_builds_and_of_tools_are_not_checked() {
        let root = tempfile::tempdir().unwrap();
        for file in ["lib.rs", "docs/page.md", "target/built.rs", "fuzz/target/built.rs", ".hidden/x.md", "notes.txt"] {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x".repeat(MOST)).unwrap();
        }
        assert_eq!(check(root.path()).unwrap(), Counts::PASSED);
        fs::write(root.path().join("target/built.rs"), "x".repeat(MOST + 1)).unwrap();
        assert_eq!(check(root.path()).unwrap(), Counts::PASSED);
        fs::write(root.path().join("docs/page.md"), "x".repeat(MOST + 1)).unwrap();
        assert_eq!(check(root.path()).unwrap(), Counts::FAILED);
    }

    #[test]
    fn the_limit_is_that_of_the_editor_and_of_rustfmt() {
        let root = crate::workspace::Workspace::find().unwrap().root;
        for (file, setting) in [(".editorconfig", "max_line_length = "), ("rustfmt.toml", "max_width = ")] {
            let text = fs::read_to_string(root.join(file)).unwrap();
            let value = text.lines().find_map(|line| line.strip_prefix(setting)).unwrap();
            assert_eq!(value, MOST.to_string(), "{file}");
        }
    }
}
