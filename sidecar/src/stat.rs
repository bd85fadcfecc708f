//! `stat`: a ring's figures as a table or as JSON.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use framebuffer::http::Endpoint;
use framebuffer::{Key, Metric, MetricUnit, MetricValue, Stats};
use framebuffer_contract::Quantity;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::cli::{RingArgs, StatArgs};

/// How long a sidecar may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Prints the figures.
///
/// # Errors
///
/// There is no key, or no such ring.
pub fn main(args: &StatArgs) -> anyhow::Result<ExitCode> {
    let key = find_key(&args.ring)?;
    let stats = framebuffer::stat(&args.ring.dir, &key).context("failed to look at the ring")?;
    let text = if args.json { serde_json::to_string_pretty(&Report(stats))? + "\n" } else { Table(stats).to_string() };
    print(&text)
}

/// Prints a command's whole answer. Whoever reads only its beginning (`head`) has got what it wanted.
pub(crate) fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("failed to print"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The given key, or else that of the sidecar at `--url`.
///
/// # Errors
///
/// The given key is invalid, or the sidecar does not answer with one.
pub fn find_key(args: &RingArgs) -> anyhow::Result<Key> {
    if let Some(key) = &args.key {
        return key.check();
    }
    let url = args.url();
    ask_key(url).with_context(|| {
        format!("no --key (FRAMEBUFFER_KEY) is given, and the sidecar at {url} (--url) does not say one")
    })
}

/// The key that the sidecar at `url` says.
pub(crate) fn ask_key(url: &str) -> anyhow::Result<Key> {
    #[derive(Deserialize)]
    struct Answer {
        key: String,
    }
    let response = url.parse::<Endpoint>()?.get("/get_key", DEADLINE)?;
    if response.status != 200 {
        bail!("it answers with status {}", response.status);
    }
    // Neither error repeats the answer, which may contain a key.
    let Ok(Answer { key }) = serde_json::from_slice(&response.body) else { bail!("its answer holds no key") };
    Ok(Key::new(key)?)
}

/// The figures under the names of the metrics. Metrics that differ in their label are an object.
struct Report(Stats);

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let metrics: Vec<_> = self.0.metrics().collect();
        let mut map = serializer.serialize_map(None)?;
        for family in metrics.chunk_by(|(a, _), (b, _)| a.name == b.name) {
            match family {
                [(metric @ Metric { label: None, .. }, value)] => map.serialize_entry(&key(metric), &json(*value))?,
                [(metric, _), ..] => map.serialize_entry(&key(metric), &Labelled(family))?,
                [] => {}
            }
        }
        map.end()
    }
}

/// Metrics of one name, under the values of their labels.
struct Labelled<'a>(&'a [(Metric, MetricValue)]);

impl Serialize for Labelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let labels = self.0.iter().filter_map(|(metric, value)| Some((metric.label?.1, json(*value))));
        serializer.collect_map(labels)
    }
}

/// The metric's name with its unit, but without `ring_`: everything here is about the ring.
fn key(metric: &Metric) -> String {
    let name = metric.name.strip_prefix("ring_").unwrap_or(metric.name);
    metric.unit.map_or_else(|| name.to_owned(), |unit| format!("{name}_{}", unit.as_str()))
}

fn json(value: MetricValue) -> serde_json::Value {
    match value {
        MetricValue::Integer(value) => value.into(),
        MetricValue::Seconds(value) => value.into(),
    }
}

/// A line for each figure, for people.
struct Table(Stats);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.metrics().try_for_each(|(metric, value)| {
            let (name, value) = (metric.field.replace('_', " "), readable(value, metric.unit));
            writeln!(f, "{name:<22}{value}")
        })
    }
}

fn readable(value: MetricValue, unit: Option<MetricUnit>) -> String {
    match (value, unit) {
        (MetricValue::Integer(bytes), Some(MetricUnit::Bytes)) if bytes < 1024 => format!("{bytes} bytes"),
        (MetricValue::Integer(bytes), Some(MetricUnit::Bytes)) => format!("{} ({bytes} bytes)", Quantity::from(bytes)),
        (MetricValue::Integer(count), _) => count.to_string(),
        (MetricValue::Seconds(seconds), _) => {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds);
            format!("{} s ago", time.elapsed().unwrap_or_default().as_secs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::stats;

    #[test]
    fn json_has_every_figure_under_its_name() {
        let expected = serde_json::json!({
            "size_bytes": 1,
            "capacity_bytes": 2,
            "huge_pages_bytes": 8,
            "head_bytes": 3,
            "laps": 4,
            "participants": 5,
            "participants_limit": 6,
            "pins": 7,
            "created_timestamp_seconds": 0.0,
            "allocations": 11,
            "allocated_bytes": 12,
            "hops": 13,
            "exhausted": 14,
            "frames_written": 15,
            "written_bytes": 16,
            "frames_read": 17,
            "read_bytes": 18,
            "views": 19,
            "timeouts": { "overwritten": 20, "not_written": 21, "mismatch": 22 },
            "participants_reaped": 23,
        });
        assert_eq!(serde_json::to_value(Report(stats())).unwrap(), expected);
    }

    #[test]
    fn the_table_says_bytes_in_full_and_times_as_ages() {
        let created = SystemTime::now() - Duration::from_millis(7500);
        let table = Table(Stats { size: 1 << 20, created, ..stats() }).to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), stats().metrics().count());
        for line in [
            "size                  1Mi (1048576 bytes)",
            "head                  3 bytes",
            "created               7 s ago",
            "frames written        15",
            "timeouts not written  21",
        ] {
            assert!(lines.contains(&line), "{line} is missing in\n{table}");
        }
    }
}
