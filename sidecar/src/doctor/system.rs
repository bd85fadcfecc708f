//! The kernel: new enough, and `/proc` is there.

use std::path::Path;

use super::Check;

/// Kernel features of the ring: the first kernel that has each, and the loss without it. OFD locks (3.15) are tried out
/// on a file instead.
const FEATURES: [(Version, &str, &str); 3] = [
    ((4, 14), "MADV_WIPEONFORK", "forked children of clients cannot be told from their parents"),
    ((5, 14), "MADV_POPULATE_WRITE", "the ring's pages are touched one by one"),
    ((6, 1), "MADV_COLLAPSE", "the ring has no huge pages unless tmpfs is mounted with huge=, copying is slower"),
];

type Version = (u32, u32);

/// Checks the kernel and `/proc`.
pub(super) fn examine() -> Vec<Check> {
    let mut checks = match nix::sys::utsname::uname() {
        Ok(name) => kernel(&name.release().to_string_lossy()),
        Err(error) => vec![Check::warn(format!("uname: {error}"), "the kernel's version stays unknown")],
    };
    checks.push(if Path::new("/proc/self/status").exists() {
        Check::ok("/proc is mounted")
    } else {
        let advice = "mount it (mount -t proc proc /proc): without it, limits of memory stay unknown, and what a ring \
                      opens through it fails";
        Check::warn("/proc is not mounted", advice)
    });
    checks
}

fn kernel(release: &str) -> Vec<Check> {
    let Some(found) = version(release) else {
        let advice = format!("Linux {}.{} or newer has all that the ring uses", FEATURES[2].0.0, FEATURES[2].0.1);
        return vec![Check::warn(format!("kernel `{release}`: not a version of Linux"), advice)];
    };
    let missing: Vec<_> = FEATURES.iter().filter(|(first, ..)| found < *first).collect();
    if missing.is_empty() {
        return vec![Check::ok(format!("kernel {release} has all that the ring uses"))];
    }
    let check = |((major, minor), name, loss): &&(Version, &str, &str)| {
        Check::warn(format!("kernel {release} has no {name}, Linux {major}.{minor} has"), *loss)
    };
    missing.iter().map(check).collect()
}

fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_version_is_read_out_of_a_release() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.15.167.4-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(version("5.10"), Some((5, 10)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn each_feature_that_an_old_kernel_lacks_is_named() {
        assert_eq!(kernel("4.4.0").len(), 3);
        let checks = kernel("5.15.0-91-generic");
        assert_eq!(checks.len(), 1);
        assert!(checks[0].verdict == Verdict::Warn && checks[0].found.contains("MADV_COLLAPSE"), "{checks:?}");
        assert_eq!(kernel("6.8.0")[0].verdict, Verdict::Ok);
    }
}
