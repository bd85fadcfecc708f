//! The channels of a ring as dictionaries.

use std::time::SystemTime;

use framebuffer::ChannelInfo;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The figures under the names of their fields in the crate; `last_sent` in seconds since 1970.
pub(crate) fn to_dicts<'py>(py: Python<'py>, channels: &[ChannelInfo]) -> PyResult<Vec<Bound<'py, PyDict>>> {
    channels.iter().map(|channel| to_dict(py, channel)).collect()
}

fn to_dict<'py>(py: Python<'py>, channel: &ChannelInfo) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("name", &channel.name)?;
    dict.set_item("content_type", &channel.content_type)?;
    for (name, figure) in [
        ("frames", channel.frames),
        ("bytes", channel.bytes),
        ("lost", channel.lost),
        ("skipped", channel.skipped),
        ("publishers", channel.publishers as u64),
        ("subscribers", channel.subscribers as u64),
    ] {
        dict.set_item(name, figure)?;
    }
    let lossless = channel.lossless.iter().map(|subscriber| {
        let dict = PyDict::new(py);
        dict.set_item("participant", subscriber.participant)?;
        dict.set_item("process", subscriber.process)?;
        dict.set_item("next_number", subscriber.next_number)?;
        dict.set_item("unread", subscriber.unread)?;
        Ok(dict)
    });
    dict.set_item("lossless", lossless.collect::<PyResult<Vec<_>>>()?)?;
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    dict.set_item("last_sent", channel.last_sent.map(since))?;
    Ok(dict)
}
