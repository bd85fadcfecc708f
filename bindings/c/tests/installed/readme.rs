//! The README's commands, verbatim.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::compiler::{run, source, succeed, with_pkg_config};

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn the_readmes_compiler_commands_work_in_the_folder_of_the_examples() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy_files(&source("examples"), folder.path());
    let commands = commands();
    assert!(commands.len() >= 3, "{commands:?}");
    for command in &commands {
        let mut shell = Command::new("sh");
        succeed(with_pkg_config(shell.args(["-ec", command]).current_dir(folder.path())));
    }
}

#[test]
#[ignore = "needs the installed library: cargo xtask test c"]
fn the_readmes_program_compiles_and_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (language, extension, compiler) in [("c", "c", "cc -std=c99"), ("cpp", "cpp", "c++ -std=c++17")] {
        let blocks = blocks(language);
        assert!(!blocks.is_empty(), "the README has a program in {language}");
        for block in blocks {
            fs::write(folder.path().join("readme").with_extension(extension), block).unwrap();
            let command = format!(
                "{compiler} -Wall -Wextra -pedantic -Werror readme.{extension} -o readme \
                 $(pkg-config --cflags --libs framebuffer)"
            );
            let mut shell = Command::new("sh");
            succeed(with_pkg_config(shell.args(["-ec", &command]).current_dir(folder.path())));
            succeed(&mut run(&folder.path().join("readme"), folder.path()));
        }
    }
}

fn commands() -> Vec<String> {
    let lines = blocks("sh").concat();
    let compiles = |line: &&str| line.starts_with("cc ") || line.starts_with("c++ ");
    lines.replace("\\\n", " ").lines().filter(compiles).map(str::to_owned).collect()
}

/// The README's blocks of code in this language.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(source("README.md")).expect("the README");
    let opening = format!("```{language}\n");
    let blocks = readme.split(&opening).skip(1);
    blocks.map(|rest| rest.split_once("```").expect("the block ends").0.to_owned()).collect()
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}
