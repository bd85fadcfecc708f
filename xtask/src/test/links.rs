//! A test of the repository's documents: their relative links lead to files and headings that exist.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::workspace::Workspace;

/// Every Markdown file below `root`.
fn documents(root: &Path) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let mut documents = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            // Not the documents that builds and tools make.
            if entry.file_type().unwrap().is_dir() && !name.starts_with('.') && !name.starts_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    documents
}

/// The lines outside fenced blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of the links in a text: `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
}

/// The anchors of the headings in a text, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    headings
        .map(|line| line.trim_matches(['#', ' ']).to_lowercase().chars().filter(kept).collect::<String>())
        .map(|heading| heading.replace(' ', "-"))
        .collect()
}

/// The reason why a link in `document` leads nowhere.
fn fault(document: &Path, link: &str) -> Option<String> {
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() { document.to_owned() } else { document.parent().unwrap().join(path) };
    let name = document.display();
    if !target.exists() {
        return Some(format!("{name}: {link}: no such file"));
    }
    let there =
        anchor.is_none_or(|anchor| anchors(&fs::read_to_string(&target).unwrap()).iter().any(|it| it == anchor));
    (!there).then(|| format!("{name}: {link}: no such heading"))
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut checked = 0;
    let mut faults = Vec::new();
    for document in documents(&Workspace::find().unwrap().root) {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            checked += 1;
            faults.extend(fault(&document, link));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 100, "only {checked} links were found");
}
