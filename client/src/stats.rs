//! [`Stats`] of a ring, and the [`Metric`] that each figure is exported as.
//!
//! Name, help and unit of a figure stand here and nowhere else: whoever exports figures loops over [`Stats::metrics`].
//! To add a counter, add it to `counters!` (at its end: the order is that of the words in a participant's slot) and to
//! the struct in C, which does not compile without it.

use std::time::SystemTime;

use crate::layout::COUNTERS;

/// A metric in the sense of `OpenMetrics`: how to export one figure of [`Stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The figure's field in [`Stats`] or [`Counters`].
    pub field: &'static str,
    /// The metric's name, without prefix, unit and the suffix of its kind. Metrics of one name differ in their label.
    pub name: &'static str,
    /// One sentence about all metrics of this name.
    pub help: &'static str,
    /// Whether the figure can fall.
    pub kind: MetricKind,
    /// `None` for plain numbers.
    pub unit: Option<MetricUnit>,
    /// Key and value of the label.
    pub label: Option<(&'static str, &'static str)>,
}

/// The kind of a [`Metric`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// The unit of a [`Metric`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricUnit {
    /// Bytes.
    Bytes,
    /// Seconds; of a point in time, those since 1970.
    Seconds,
}

impl MetricUnit {
    /// The unit as names of metrics end: `bytes` or `seconds`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

/// The value of a [`Metric`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricValue {
    /// A count or a number of bytes.
    Integer(u64),
    /// A point in time, in seconds since 1970.
    Seconds(f64),
}

impl From<u64> for MetricValue {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<usize> for MetricValue {
    fn from(value: usize) -> Self {
        Self::Integer(value as u64)
    }
}

impl From<SystemTime> for MetricValue {
    /// Times before 1970 are 0.
    fn from(time: SystemTime) -> Self {
        Self::Seconds(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64())
    }
}

impl Metric {
    const fn new(kind: MetricKind, name: &'static str) -> Self {
        Self { field: "", name, help: "", kind, unit: None, label: None }
    }

    pub(crate) const fn in_bytes(self) -> Self {
        Self { unit: Some(MetricUnit::Bytes), ..self }
    }

    pub(crate) const fn in_seconds(self) -> Self {
        Self { unit: Some(MetricUnit::Seconds), ..self }
    }

    /// The metric of this field, whose documentation is the help unless the metric has its own.
    pub(crate) const fn of(self, field: &'static str, doc: &'static str) -> Self {
        Self { field, help: if self.help.is_empty() { doc.trim_ascii() } else { self.help }, ..self }
    }
}

pub(crate) const fn gauge(name: &'static str) -> Metric {
    Metric::new(MetricKind::Gauge, name)
}

pub(crate) const fn counter(name: &'static str) -> Metric {
    Metric::new(MetricKind::Counter, name)
}

/// Timeouts of one reason, which is called as [`TimeoutReason::label`](crate::TimeoutReason::label) says.
const fn timeouts(reason: &'static str) -> Metric {
    Metric { help: "Frames that were not there, by reason.", label: Some(("reason", reason)), ..counter("timeouts") }
}

macro_rules! stats {
    ($(#[doc = $doc:literal] $field:ident: $type:ty = $metric:expr;)*) => {
        /// A snapshot of a ring. The figures are read one after the other while the ring is in use: each is right, but
        /// they are not of one instant.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Stats {
            $(#[doc = $doc] pub $field: $type,)*
            /// Counters since the ring was created, summed over all participants, past and present.
            pub counters: Counters,
        }

        impl Stats {
            /// The figures that are not counters of participants, in the order of the fields.
            pub fn own_metrics(&self) -> impl Iterator<Item = (Metric, MetricValue)> + use<> {
                [$((const { $metric.of(stringify!($field), $doc) }, self.$field.into()),)*].into_iter()
            }
        }
    };
}

macro_rules! counters {
    ($(#[doc = $doc:literal] $field:ident: $variant:ident = $metric:expr;)*) => {
        /// Counters of a ring since its creation, summed over all participants.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $(#[doc = $doc] pub $field: u64,)*
        }

        /// The counters' places in a participant's slot.
        #[derive(Debug, Clone, Copy)]
        #[repr(usize)]
        pub(crate) enum Counter {
            $(#[doc = $doc] $variant,)*
        }

        const _: () = assert!([$(Counter::$variant),*].len() <= COUNTERS, "a slot has room for them");

        impl Counters {
            /// The counters, in the order of the fields.
            pub fn metrics(&self) -> impl Iterator<Item = (Metric, MetricValue)> + use<> {
                [$((const { $metric.of(stringify!($field), $doc) }, self.$field.into()),)*].into_iter()
            }

            /// Sums `value(counter)` into each counter.
            pub(crate) fn add(&mut self, value: impl Fn(Counter) -> u64) {
                $(self.$field = self.$field.wrapping_add(value(Counter::$variant));)*
            }
        }
    };
}

stats! {
    /// Bytes of payload that the ring keeps, and the size of the largest frame.
    size: u64 = gauge("ring_size").in_bytes();
    /// Bytes of the data ring: the size, and room for frame headers.
    capacity: u64 = gauge("ring_capacity").in_bytes();
    /// Stream position up to which the ring has been allocated, in bytes.
    head: u64 = gauge("ring_head").in_bytes();
    /// Times the ring has been filled.
    laps: u64 = counter("ring_laps");
    /// Participants now: each client or server that has the ring open is at least one.
    participants: usize = gauge("participants");
    /// Participants that the ring has room for.
    max_participants: usize = gauge("participants_limit");
    /// Ranges of the ring that views, loans and operations in progress pin now.
    pins: usize = gauge("pins");
    /// Bytes of the ring in huge pages: as many as its owner could get since it started, in rings of 64 MiB and more.
    huge_pages: u64 = gauge("ring_huge_pages").in_bytes();
    /// When the ring was created.
    created: SystemTime = gauge("ring_created_timestamp").in_seconds();
}

counters! {
    /// Frames allocated, whether written or not.
    allocations: Allocations = counter("allocations");
    /// Bytes allocated for frames, without headers.
    allocated_bytes: AllocatedBytes = counter("allocated").in_bytes();
    /// Times an allocation skipped a pinned range.
    hops: Hops = counter("hops");
    /// Allocations given up because the whole ring was pinned.
    exhausted: Exhausted = counter("exhausted");
    /// Frames committed.
    frames_written: FramesWritten = counter("frames_written");
    /// Bytes committed.
    bytes_written: BytesWritten = counter("written").in_bytes();
    /// Frames copied out.
    frames_read: FramesRead = counter("frames_read");
    /// Bytes copied out.
    bytes_read: BytesRead = counter("read").in_bytes();
    /// Frames viewed in place.
    views: Views = counter("views");
    /// Timeouts because the frame was overwritten.
    timeouts_overwritten: TimeoutsOverwritten = timeouts("overwritten");
    /// Timeouts because the frame was not written.
    timeouts_not_written: TimeoutsNotWritten = timeouts("not_written");
    /// Timeouts because the frame has another size or checksum.
    timeouts_mismatch: TimeoutsMismatch = timeouts("mismatch");
    /// Dead participants whose slots were cleared.
    reaped: Reaped = counter("participants_reaped");
}

impl Stats {
    /// All figures. Metrics of one name are neighbours.
    pub fn metrics(&self) -> impl Iterator<Item = (Metric, MetricValue)> + use<> {
        self.own_metrics().chain(self.counters.metrics())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::error::TimeoutReason;

    fn stats() -> Stats {
        let mut counters = Counters::default();
        counters.add(|counter| 100 + counter as u64);
        Stats {
            size: 1,
            capacity: 2,
            head: 3,
            laps: 4,
            participants: 5,
            max_participants: 6,
            pins: 7,
            huge_pages: 8,
            created: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
            counters,
        }
    }

    #[test]
    fn every_figure_is_exported_once_with_its_own_value() {
        let own: Vec<_> = stats().own_metrics().map(|(_, value)| value).collect();
        let integers = (1..=8).map(MetricValue::Integer);
        assert_eq!(own, integers.chain([MetricValue::Seconds(1.5)]).collect::<Vec<_>>());
        let counters: Vec<_> = stats().counters.metrics().map(|(_, value)| value).collect();
        assert_eq!(counters, (100..113).map(MetricValue::Integer).collect::<Vec<_>>());
    }

    #[test]
    fn metrics_of_one_name_are_neighbours_that_differ_only_in_field_and_label() {
        let metrics: Vec<_> = stats().metrics().map(|(metric, _)| metric).collect();
        let families: Vec<_> = metrics.chunk_by(|a, b| a.name == b.name).collect();
        let names: HashSet<_> = families.iter().map(|family| family[0].name).collect();
        assert_eq!(names.len(), families.len());
        for family in families {
            let labels: HashSet<_> = family.iter().map(|metric| metric.label).collect();
            assert_eq!(labels.len(), family.len());
            for metric in family {
                assert_eq!(Metric { field: metric.field, label: metric.label, ..family[0] }, *metric);
                assert!(metric.help.ends_with('.') && !metric.help.starts_with(' '), "{metric:?}");
            }
        }
    }

    #[test]
    fn timeouts_are_labelled_with_their_reasons() {
        let labelled: Vec<_> = stats().metrics().filter_map(|(metric, _)| metric.label).collect();
        let reasons = [
            TimeoutReason::Overwritten { behind: 0, laps: 1 },
            TimeoutReason::NotWritten,
            TimeoutReason::SizeMismatch { promised: 0, committed: 1 },
        ];
        assert_eq!(labelled, reasons.map(|reason| ("reason", reason.label())));
    }
}
