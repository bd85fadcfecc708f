//! Limits of the system: a start beyond one is an error that names it, not a kill later, and leaves nothing behind.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use common::{KEY, alone, chain, folder, is_empty, is_payload, kept_segment, key, options, payload};
use framebuffer::{FrameBufferClient, FrameBufferServer, Prefault, SegmentError, ServerOptions};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Uid, fork, setuid};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn ring(dir: &Path, size: u64) -> ServerOptions {
    FrameBufferServer::options(size).key(key()).dir(dir).prefault(Prefault::Off)
}

/// The error names the limit, its value and the remedy, and `doctor`'s list has the same.
fn names(error: &SegmentError, limit: &str, value: u64, remedy: &str) {
    let text = chain(error);
    assert!(matches!(error, SegmentError::NoMemory { .. }), "{text}");
    assert!(text.contains(limit) && text.contains(&value.to_string()) && text.contains(remedy), "{text}");
}

fn doctor_agrees(dir: &Path, size: u64, limit: &str) {
    let limits = framebuffer::limits(dir, Some(size)).expect("a folder");
    assert!(limits.iter().any(|found| found.name.contains(limit) && !found.holds()), "{limits:#?}");
}

/// Lowers the soft limit of this process.
fn lower(resource: Resource, value: u64) {
    let (_, hard) = getrlimit(resource).expect("it exists");
    setrlimit(resource, value, hard).expect("lower than before");
}

fn address_space() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}

/// Runs `body` in a forked child, which must come to its end.
fn in_child(body: impl FnOnce()) {
    // SAFETY: these tests run alone in their processes, where no other thread holds a lock that the child needs.
    match unsafe { fork() }.expect("a child") {
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).expect("our child");
            assert!(matches!(status, WaitStatus::Exited(_, 0)), "the child: {status:?}");
        }
        ForkResult::Child => {
            let outcome = catch_unwind(AssertUnwindSafe(body));
            // SAFETY: ends the process.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
    }
}

/// A tmpfs of its own, unmounted when dropped. `None` where that is not permitted.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount(options: &str) -> Option<Self> {
        let dir = folder();
        let mounted = mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options));
        mounted.inspect_err(|errno| eprintln!("skipped: cannot mount a tmpfs: {errno}")).ok().map(|()| Self(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).expect("it is mounted");
    }
}

#[test]
fn a_ring_beyond_the_limit_on_file_sizes_is_refused_by_name_instead_of_a_kill() {
    alone("a_ring_beyond_the_limit_on_file_sizes_is_refused_by_name_instead_of_a_kill", || {
        let dir = folder();
        lower(Resource::RLIMIT_FSIZE, 2 * MIB);
        let error = ring(dir.path(), 8 * MIB).start().expect_err("beyond the limit");
        names(&error, "RLIMIT_FSIZE", 2 * MIB, "ulimit -f");
        doctor_agrees(dir.path(), 8 * MIB, "RLIMIT_FSIZE");
        assert!(is_empty(&dir));
        ring(dir.path(), 256 << 10).start().expect("below the limit");
    });
}

#[test]
fn a_ring_beyond_the_address_space_is_refused_by_name_to_servers_and_clients() {
    alone("a_ring_beyond_the_address_space_is_refused_by_name_to_servers_and_clients", || {
        let dir = folder();
        drop(ring(dir.path(), 32 * MIB).keep(true).start().expect("no limit yet"));
        let limit = address_space() + 48 * MIB;
        lower(Resource::RLIMIT_AS, limit);
        let client = FrameBufferClient::options(key()).dir(dir.path()).open().map(drop);
        let adopted = ring(dir.path(), 32 * MIB).keep(true).start().map(drop);
        let new = FrameBufferServer::options(256 * MIB).dir(dir.path()).start().map(drop);
        for attempt in [client, adopted, new] {
            names(&attempt.expect_err("mapped twice, it is beyond the limit"), "RLIMIT_AS", limit, "ulimit -v");
        }
        doctor_agrees(dir.path(), 256 * MIB, "RLIMIT_AS");
        assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 1, "only the kept ring");
    });
}

#[test]
fn a_program_that_locks_all_it_maps_learns_that_it_may_not_lock_a_ring() {
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    alone("a_program_that_locks_all_it_maps_learns_that_it_may_not_lock_a_ring", || {
        let dir = folder();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("our folder");
        in_child(|| {
            setrlimit(Resource::RLIMIT_MEMLOCK, 4 * MIB, 4 * MIB).expect("lower than before");
            setuid(Uid::from_raw(65534)).expect("we are root");
            // SAFETY: changes how later mappings are made, and no memory.
            assert_eq!(unsafe { libc::mlockall(libc::MCL_FUTURE) }, 0);
            let error = ring(dir.path(), 8 * MIB).start().expect_err("locked, it is beyond the limit");
            names(&error, "RLIMIT_MEMLOCK", 4 * MIB, "ulimit -l");
        });
        assert!(is_empty(&dir));
    });
}

/// A control group of version 1 below another, which has a memory limit. Removed when dropped.
struct Groups {
    limited: PathBuf,
    inner: PathBuf,
}

impl Groups {
    fn create(limit: u64) -> Option<Self> {
        let limited = PathBuf::from(format!("/sys/fs/cgroup/memory/framebuffer-test-{}", std::process::id()));
        let inner = limited.join("inner");
        let groups = Self { limited, inner };
        let created = fs::create_dir_all(&groups.inner)
            .and_then(|()| fs::write(groups.limited.join("memory.limit_in_bytes"), limit.to_string()));
        created.inspect_err(|error| eprintln!("skipped: no control groups of version 1: {error}")).ok()?;
        Some(groups)
    }

    /// Moves this process into the inner group.
    fn enter(&self) {
        fs::write(self.inner.join("cgroup.procs"), std::process::id().to_string()).expect("our group");
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in [&self.inner, &self.limited] {
            let _ = fs::remove_dir(group);
        }
    }
}

#[test]
fn a_ring_beyond_the_memory_limit_of_a_group_above_is_refused_by_name_instead_of_a_kill() {
    alone("a_ring_beyond_the_memory_limit_of_a_group_above_is_refused_by_name_instead_of_a_kill", || {
        let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in shared memory");
        let Some(groups) = Groups::create(64 * MIB) else { return };
        let name = groups.limited.file_name().and_then(|name| name.to_str()).expect("a name");
        // It may be killed, and the groups are removed nevertheless.
        in_child(|| {
            groups.enter();
            for size in [256 * MIB, 63 * MIB] {
                let error = ring(dir.path(), size).start().expect_err("beyond the limit");
                let limit = format!("control group /{name} (memory.limit_in_bytes");
                names(&error, &limit, 64 * MIB, "resources.limits.memory");
                doctor_agrees(dir.path(), size, name);
                assert!(is_empty(&dir));
            }
            let _server = ring(dir.path(), 48 * MIB).prefault(Prefault::Wait).start().expect("below the limit");
            let options = FrameBufferClient::options(key()).dir(dir.path()).prefault(Prefault::Wait);
            let client = options.open().expect("a ring");
            for seed in 0..60 {
                let frame = client.publish(&payload(seed, 1 << 20)).expect("room");
                assert!(is_payload(seed, &client.read_frame(&frame).expect("just written")));
            }
        });
    });
}

#[test]
fn a_folder_without_room_for_one_more_file_is_named() {
    let Some(tmpfs) = Tmpfs::mount("size=64m,nr_inodes=2") else { return };
    fs::write(tmpfs.0.path().join("other"), "").expect("room for one");
    let error = ring(tmpfs.0.path(), MIB).start().expect_err("no room for another");
    names(&error, "for 2 files", 2, "nr_inodes");
    fs::remove_file(tmpfs.0.path().join("other")).expect("it is there");
    ring(tmpfs.0.path(), MIB).start().expect("room for one");
}

#[test]
fn a_read_only_folder_is_named() {
    let Some(tmpfs) = Tmpfs::mount("size=64m") else { return };
    drop(ring(tmpfs.0.path(), MIB).keep(true).start().expect("writable"));
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, tmpfs.0.path(), None::<&str>, flags, None::<&str>).expect("our tmpfs");
    let client = FrameBufferClient::options(key()).dir(tmpfs.0.path()).open().map(drop);
    let new = FrameBufferServer::options(MIB).dir(tmpfs.0.path()).start().map(drop);
    for attempt in [client, new] {
        let text = chain(&attempt.expect_err("read-only"));
        assert!(text.contains("mounted read-only") && text.contains(&tmpfs.0.path().display().to_string()), "{text}");
    }
}

#[test]
fn whose_folder_and_file_it_is_and_what_to_do_is_said_to_other_users() {
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    alone("whose_folder_and_file_it_is_and_what_to_do_is_said_to_other_users", || {
        let closed = folder();
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
        let sticky = folder();
        fs::set_permissions(sticky.path(), fs::Permissions::from_mode(0o1777)).expect("our folder");
        drop(options(&sticky).mode(0o666).keep(true).start().expect("a ring"));
        in_child(|| {
            setuid(Uid::from_raw(65534)).expect("we are root");
            let text = chain(&options(&closed).start().expect_err("not our folder"));
            assert!(text.contains("belongs to user 0, group 0, mode 0755") && text.contains("fsGroup"), "{text}");
            let text = chain(&options(&sticky).start().expect_err("not our file"));
            for part in ["remove the segment", "the file belongs to user 0", "mode 0666", "mode 1777", "--keep"] {
                assert!(text.contains(part), "{part} in {text}");
            }
            options(&sticky).keep(true).start().expect("as the error advises");
        });
        assert!(is_empty(&closed));
    });
}

/// A system call; if not all of them, an argument's number and the bits that it has.
type Call = (libc::c_long, Option<(u32, i32)>);

/// Makes a system call fail in this process from now on.
fn refuse((call, argument): Call, errno: i32) {
    let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let unless = |k, skip| libc::sock_filter { code: 0x15, jt: 0, jf: skip, k };
    let checks = if argument.is_some() { 3 } else { 0 };
    let mut program = vec![statement(0x20, 0), unless(u32::try_from(call).expect("a number"), checks + 1)];
    if let Some((number, bits)) = argument {
        let bits = bits.cast_unsigned();
        program.extend([statement(0x20, 16 + 8 * number), statement(0x54, bits), unless(bits, 1)]);
    }
    program.push(statement(0x06, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()));
    program.push(statement(0x06, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: takes numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program is well-formed, or it is refused, and lives until the kernel has copied it.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// As on file systems that create no files without a name.
fn without_tmpfile() {
    refuse((libc::SYS_openat, Some((2, libc::O_TMPFILE))), libc::EOPNOTSUPP);
}

#[test]
fn a_start_that_fails_at_any_step_says_so_and_leaves_nothing_behind() {
    const STEPS: [(&str, Call, i32); 8] = [
        ("create a file", (libc::SYS_openat, Some((2, libc::O_CREAT))), libc::EMFILE),
        ("set the segment's mode", (libc::SYS_fchmod, None), libc::EIO),
        ("mount -o remount", (libc::SYS_fallocate, None), libc::ENOSPC),
        ("allocate the segment's memory", (libc::SYS_fallocate, None), libc::EOPNOTSUPP),
        ("initialise the segment", (libc::SYS_pwrite64, None), libc::EIO),
        ("map the segment", (libc::SYS_mmap, Some((3, libc::MAP_SHARED | libc::MAP_FIXED))), libc::ENOMEM),
        ("lock the segment", (libc::SYS_fcntl, Some((1, libc::F_OFD_SETLK))), libc::ENOLCK),
        ("name the segment", (libc::SYS_linkat, None), libc::EPERM),
    ];
    alone("a_start_that_fails_at_any_step_says_so_and_leaves_nothing_behind", || {
        let dir = folder();
        for (text, call, errno) in STEPS {
            for with_tmpfile in [true, false] {
                // Only files that get a name at once are created by that call.
                if with_tmpfile && text == "create a file" {
                    continue;
                }
                in_child(|| {
                    if !with_tmpfile {
                        without_tmpfile();
                    }
                    refuse(call, errno);
                    let error = chain(&options(&dir).start().expect_err(text));
                    assert!(error.contains(text), "{text}: {error}");
                });
                assert!(is_empty(&dir), "{text}");
            }
        }
    });
}

#[test]
fn a_folder_that_creates_no_files_without_a_name_takes_a_ring_and_nothing_else() {
    alone("a_folder_that_creates_no_files_without_a_name_takes_a_ring_and_nothing_else", || {
        let dir = folder();
        in_child(|| {
            without_tmpfile();
            let server = options(&dir).start().expect("a ring");
            let names: Vec<_> = fs::read_dir(dir.path()).expect("the folder").collect();
            assert_eq!(names.len(), 1, "{names:?}");
            assert!(dir.path().join(format!("framebuffer-{KEY}")).exists());
            drop(server);
        });
        assert!(is_empty(&dir));
    });
}

#[test]
fn a_start_or_an_opening_without_enough_descriptors_leaves_nothing_behind() {
    alone("a_start_or_an_opening_without_enough_descriptors_leaves_nothing_behind", || {
        let dir = folder();
        let (kept, _) = kept_segment();
        let mut failed = [0, 0];
        for limit in 3..64 {
            lower(Resource::RLIMIT_NOFILE, limit);
            let started = options(&dir).start().map(drop);
            let opened = FrameBufferClient::options(key()).dir(kept.path()).open().map(drop);
            failed[0] += u32::from(started.is_err());
            failed[1] += u32::from(opened.is_err());
            lower(Resource::RLIMIT_NOFILE, 64);
            assert!(is_empty(&dir), "with {limit} descriptors: {started:?}");
        }
        assert!(failed.iter().all(|&failed| (1..60).contains(&failed)), "{failed:?} of 61 attempts failed");
        assert_eq!(framebuffer::stat(kept.path(), &key()).expect("it is there").participants, 0);
    });
}

#[test]
fn no_dev_is_needed_and_no_proc_is_an_error_that_leaves_nothing_behind() {
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root can hide /dev and /proc");
        return;
    }
    alone("no_dev_is_needed_and_no_proc_is_an_error_that_leaves_nothing_behind", || {
        let dir = folder();
        // SAFETY: takes a number only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "we are root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("our namespace");
        let hide = |path: &str| mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), none).expect("we are root");
        hide("/dev");
        framebuffer::Key::random().expect("the kernel has random bytes");
        drop(options(&dir).start().expect("a ring"));
        hide("/proc");
        let started = options(&dir).start().map(drop);
        assert_eq!(framebuffer::trial(dir.path()).is_ok(), started.is_ok(), "doctor and server agree: {started:?}");
        assert!(is_empty(&dir));
    });
}

extern "C" fn take_note(_: libc::c_int) {}

#[test]
fn a_start_is_not_interrupted_by_the_signals_of_a_timer() {
    alone("a_start_is_not_interrupted_by_the_signals_of_a_timer", || {
        let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in shared memory");
        let action = SigAction::new(SigHandler::Handler(take_note), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGALRM, &action) }.expect("a handler");
        let often = libc::timeval { tv_sec: 0, tv_usec: 500 };
        let timer = libc::itimerval { it_interval: often, it_value: often };
        // SAFETY: reads the timer only.
        let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        ring(dir.path(), 256 * MIB).start().expect("signals are no reason to fail");
    });
}
