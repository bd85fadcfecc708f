//! A ring's statistics as a dictionary.

use framebuffer::{Metric, MetricValue, Stats};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The figures under the names of their fields in the crate; `created` in seconds since 1970, the counters under
/// `counters`.
pub(crate) fn to_dict<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = fields(py, stats.own_metrics())?;
    dict.set_item("counters", fields(py, stats.counters.metrics())?)?;
    Ok(dict)
}

fn fields(py: Python<'_>, metrics: impl Iterator<Item = (Metric, MetricValue)>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for (metric, value) in metrics {
        match value {
            MetricValue::Integer(value) => dict.set_item(metric.field, value),
            MetricValue::Seconds(value) => dict.set_item(metric.field, value),
        }?;
    }
    Ok(dict)
}
