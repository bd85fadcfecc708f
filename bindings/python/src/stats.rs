//! A ring's statistics as a dictionary.

use std::time::SystemTime;

use framebuffer::{Counters, Stats};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The figures by the names that they have in the crate; `created` in seconds since 1970, the counters under `counters`.
pub(crate) fn to_dict<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let Stats { size, capacity, head, laps, participants, max_participants, pins, huge_pages, created, counters } =
        *stats;
    let created = created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let dict = PyDict::new(py);
    let whole = [("size", size), ("capacity", capacity), ("head", head), ("laps", laps), ("huge_pages", huge_pages)];
    for (name, value) in whole {
        dict.set_item(name, value)?;
    }
    for (name, value) in [("participants", participants), ("max_participants", max_participants), ("pins", pins)] {
        dict.set_item(name, value)?;
    }
    dict.set_item("created", created)?;
    dict.set_item("counters", counters_to_dict(py, &counters)?)?;
    Ok(dict)
}

fn counters_to_dict<'py>(py: Python<'py>, counters: &Counters) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    macro_rules! set {
        ($($name:ident)*) => {{
            let Counters { $($name),* } = *counters;
            $(dict.set_item(stringify!($name), $name)?;)*
        }};
    }
    set!(allocations allocated_bytes hops exhausted frames_written bytes_written frames_read bytes_read views
        timeouts_overwritten timeouts_not_written timeouts_mismatch reaped);
    Ok(dict)
}
