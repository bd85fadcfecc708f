//! Limits of memory, folder and process: the same list by which a start is refused.

use std::path::Path;

use framebuffer::Limit;
use framebuffer_contract::Quantity;

use super::Check;

/// Checks that a new ring of `size` in `dir` keeps within all limits; without a size, says what they leave.
pub(super) fn examine(dir: &Path, size: Option<Quantity>) -> Vec<Check> {
    match framebuffer::limits(dir, size.map(Quantity::bytes)) {
        Ok(limits) => limits.iter().map(|limit| judge(limit, size)).collect(),
        Err(error) => vec![Check::fail(format!("{:#}", anyhow::Error::new(error)), "see the message")],
    }
}

fn judge(limit: &Limit, size: Option<Quantity>) -> Check {
    let Limit { name, needed, left, remedy, is_soft } = limit;
    let Some(size) = size else { return Check::ok(format!("{name} leaves {}", Quantity::from(*left))) };
    let (needed, left) = (Quantity::from(*needed), Quantity::from(*left));
    let found = format!("{name} leaves {left}, a ring of {size} needs {needed}");
    match (limit.holds(), is_soft) {
        (true, _) => Check::ok(found),
        (false, true) => Check::warn(found, format!("it would be slow: {remedy}")),
        (false, false) => Check::fail(found, *remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_ring_beyond_a_hard_limit_fails_and_one_beyond_a_soft_limit_is_slow() {
        let limit =
            |left, is_soft| Limit { name: "the memory".to_owned(), needed: 100, left, remedy: "raise it", is_soft };
        let size = Some(Quantity::from(90));
        assert_eq!(judge(&limit(100, false), size).verdict, Verdict::Ok);
        assert_eq!(judge(&limit(99, false), size).verdict, Verdict::Fail);
        assert_eq!(judge(&limit(99, true), size).verdict, Verdict::Warn);
        assert_eq!(judge(&limit(0, false), None).verdict, Verdict::Ok);
    }

    #[test]
    fn no_ring_has_every_size() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, u64::MAX] {
            let checks = examine(dir.path(), Some(Quantity::from(size)));
            assert!(checks.len() == 1 && checks[0].verdict == Verdict::Fail, "{checks:?}");
            assert!(checks[0].found.contains(&size.to_string()), "{checks:?}");
        }
    }
}
