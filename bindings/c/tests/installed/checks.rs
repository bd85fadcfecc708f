//! The checks in `tests/programs`: each in a process of its own, and all together under sanitizers and valgrind.

use std::path::Path;
use std::process::Command;

use super::compiler::{Flavour, program, run, succeed};

/// A test for each check of a program, and one that fails if a check has none.
macro_rules! checks_of {
    ($program:ident, $path:literal, $($name:ident)*) => {
        mod $program {
            use super::*;

            const PATH: &str = $path;

            $(
                #[test]
                #[ignore = "needs the installed library: cargo xtask test c"]
                fn $name() {
                    alone(PATH, stringify!($name));
                }
            )*

            #[test]
            #[ignore = "needs the installed library: cargo xtask test c"]
            fn every_check_is_a_test_here() {
                let listed = succeed(run(&program(PATH, Flavour::Shared), Path::new("/nowhere")).arg("--list"));
                assert_eq!(listed.lines().collect::<Vec<_>>(), [$(stringify!($name)),*]);
            }

            #[test]
            #[ignore = "needs the installed library: cargo xtask test c"]
            fn no_stray_access_no_undefined_behaviour_no_leak_is_seen_by_sanitizers() {
                in_a_folder(|dir| run(&program(PATH, Flavour::Sanitized), dir));
            }

            #[test]
            #[ignore = "needs the installed library: cargo xtask test c"]
            fn no_stray_access_and_no_leak_is_seen_by_valgrind_in_the_library_too() {
                in_a_folder(|dir| under_valgrind(&program(PATH, Flavour::Shared), dir));
            }

            #[test]
            #[ignore = "needs the installed library: cargo xtask test c"]
            fn the_static_library_does_the_same() {
                in_a_folder(|dir| {
                    let mut command = run(&program(PATH, Flavour::Static), dir);
                    command.env_remove("LD_LIBRARY_PATH");
                    command
                });
            }
        }
    };
}

checks_of!(checks, "tests/programs/checks.c",
    what_is_published_is_read_by_copy_and_in_place
    what_one_allocates_another_writes
    a_loan_is_committed_shortened_or_abandoned
    a_frame_as_json_is_the_same_frame
    a_frame_of_the_ring_before_is_refused_whatever_lies_at_its_offset
    views_and_loans_outlive_their_client
    a_ring_whose_server_has_stopped_is_retired_and_its_views_stay
    a_ring_that_is_kept_is_adopted_by_the_next_server
    many_threads_use_one_client_and_have_their_own_messages
    a_view_may_be_released_by_another_thread
    a_forked_child_goes_on_and_cannot_harm_its_parent
    the_version_is_that_of_the_header
);

checks_of!(misuse, "tests/programs/misuse.c",
    null_is_an_error_and_never_a_crash
    offsets_and_sizes_beyond_the_ring_are_refused
    a_frame_that_the_ring_has_moved_past_is_a_timeout
    another_checksum_or_size_is_a_timeout
    a_ring_that_is_held_whole_is_exhausted_and_free_again_afterwards
    rings_that_cannot_be_are_refused_with_the_reason
);

checks_of!(wrapper, "tests/programs/wrapper.cpp",
    containers_are_published_and_read
    what_one_allocates_another_writes
    a_loan_is_filled_in_place
    a_lost_frame_is_a_timeout_and_nothing_else_is
    errors_have_a_code_and_a_message
    what_was_moved_from_or_released_is_empty
    a_view_ends_on_the_thread_that_it_was_moved_to
    a_ring_has_the_key_and_the_mode_that_were_asked_for
);

fn alone(path: &str, name: &str) {
    in_a_folder(|dir| {
        let mut command = run(&program(path, Flavour::Shared), dir);
        command.arg(name);
        command
    });
}

/// Runs a program with rings in a folder that is empty again afterwards.
fn in_a_folder(command: impl FnOnce(&Path) -> Command) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    succeed(&mut command(dir.path()));
    assert_eq!(dir.path().read_dir().expect("the folder").count(), 0, "a ring is left behind");
}

fn under_valgrind(program: &Path, dir: &Path) -> Command {
    let mut command = run(Path::new("valgrind"), dir);
    // Not possible leaks: one is the stack of a thread that still touches pages when the process ends.
    command.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
    command.arg(program);
    command
}
