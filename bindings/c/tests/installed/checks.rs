//! The checks in `tests/programs`: each in a process of its own, also under sanitizers, all together under valgrind.

use std::path::Path;
use std::process::Command;

use super::compiler::{Flavour, program, run, succeed};

/// More than all checks of a program take under valgrind, and than the longest wait in one of them.
const LONGEST_SECONDS: &str = "300";

/// Checks that `AddressSanitizer` cannot follow: a child of a fork starts a thread there, which now and then waits for
/// ever for a lock of the allocator (libasan 8; the C library unlocks its own allocator in a child). They run under
/// valgrind.
const NOT_SANITIZED: [&str; 1] = ["a_forked_child_asks_for_a_descriptor_of_its_own"];

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
                    alone(PATH, stringify!($name), Flavour::Shared);
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
                // One by one, because of forks: a thread of an earlier check that is just ending would leave the
                // allocator of AddressSanitizer locked in the child.
                for name in [$(stringify!($name)),*].into_iter().filter(|name| !NOT_SANITIZED.contains(name)) {
                    alone(PATH, name, Flavour::Sanitized);
                }
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

checks_of!(channels, "tests/programs/channels.c",
    what_is_sent_is_received_with_what_was_said_of_it
    no_frame_is_a_status_of_its_own_and_comes_in_time
    a_subscriber_begins_where_it_is_asked_to
    received_and_lost_and_skipped_are_all_that_was_sent
    loans_are_sent_in_any_order_or_not_at_all
    a_lossless_subscriber_loses_nothing_and_holds_its_publisher_up
    publishers_subscribers_and_samples_outlive_their_client
    channels_are_listed_with_their_figures
    the_structs_have_the_layout_that_programs_were_built_with
);

checks_of!(channel_waits, "tests/programs/channel_waits.c",
    two_processes_pass_frames_and_lose_none
    a_forked_child_goes_on_with_a_channel_by_itself
    an_event_loop_waits_for_the_descriptor
    a_forked_child_asks_for_a_descriptor_of_its_own
    a_signal_handler_ends_a_wait_without_an_end
    a_signal_handler_ends_a_wait_for_lossless_subscribers_and_nothing_is_lost
    a_second_thread_gets_an_error_and_may_ask_for_the_counts
    a_sample_may_be_released_by_another_thread
);

checks_of!(channel_misuse, "tests/programs/channel_misuse.c",
    null_is_an_error_and_never_a_crash
    names_and_options_beyond_their_bounds_are_refused_with_the_reason
    options_say_how_large_they_are
    a_shape_that_does_not_fit_the_bytes_is_refused
    channels_that_cannot_be_had_so_are_refused_with_the_reason
    a_loan_ends_only_as_it_was_lent
    a_channel_of_a_ring_that_has_stopped_is_retired_and_its_samples_stay
);

checks_of!(channels_in_cpp, "tests/programs/channels.cpp",
    containers_are_sent_with_their_type_and_shape
    what_is_said_of_a_frame_arrives
    a_for_loop_receives_until_it_is_left
    a_for_loop_holds_no_frame_while_it_waits_for_the_next
    next_waits_and_ends_without_a_frame
    loans_are_filled_in_place_and_sent
    errors_of_channels_are_exceptions_by_kind
    a_signal_handler_ends_a_for_loop
    a_loan_that_a_signal_handler_kept_from_being_sent_is_whole
    an_event_loop_waits_for_the_descriptor
    what_was_moved_from_or_closed_is_empty_and_the_rest_lives_on
);

fn alone(path: &str, name: &str, flavour: Flavour) {
    in_a_folder(|dir| {
        let mut command = run(&program(path, flavour), dir);
        command.arg(name);
        command
    });
}

/// Runs a program for a bounded time, with rings in a folder that is empty again afterwards.
fn in_a_folder(command: impl FnOnce(&Path) -> Command) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    succeed(&mut bounded(&command(dir.path())));
    assert_eq!(dir.path().read_dir().expect("the folder").count(), 0, "a ring is left behind");
}

/// The same command, ended with its children if it takes longer than any does.
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=5", LONGEST_SECONDS]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    bounded
}

fn under_valgrind(program: &Path, dir: &Path) -> Command {
    let mut command = run(Path::new("valgrind"), dir);
    // Not possible leaks: one is the stack of a thread that still touches pages when the process ends.
    command.args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
    command.arg(program);
    command
}
