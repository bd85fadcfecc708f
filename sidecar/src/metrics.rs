//! The ring's figures as `OpenMetrics` text.

use std::fmt;
use std::time::SystemTime;

use framebuffer::{Counters, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics. Without `stats`, before the ring is there, only the version.
///
/// # Errors
///
/// None that a `String` could cause; the encoder's signature has one.
pub fn render(stats: Option<Stats>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("framebuffer");
    registry.register("build", "The sidecar's version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    if let Some(stats) = stats {
        registry.register_collector(Box::new(RingCollector(stats)));
    }
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct RingCollector(Stats);

impl Collector for RingCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Stats { size, capacity, head, laps, participants, max_participants, pins, huge_pages, created, counters } =
            self.0;
        let created = created.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let bytes = Some(&Unit::Bytes);
        let mut gauge = |name, help, unit, value| one(&mut encoder, name, help, unit, &ConstGauge::new(value));
        gauge("ring_size", "Payload that the ring keeps", bytes, size)?;
        gauge("ring_capacity", "The data ring, with room for frame headers", bytes, capacity)?;
        gauge("ring_huge_pages", "How much of the ring is in huge pages", bytes, huge_pages)?;
        gauge("ring_head", "Stream position up to which the ring has been allocated", bytes, head)?;
        gauge("participants", "Participants now: clients and the sidecar itself", None, participants as u64)?;
        gauge("participants_limit", "How many participants there can be", None, max_participants as u64)?;
        gauge("pins", "Ranges of the ring held now by views, loans and operations under way", None, pins as u64)?;
        one(
            &mut encoder,
            "ring_created_timestamp",
            "When the ring was created, in Unix time",
            Some(&Unit::Seconds),
            &ConstGauge::new(created),
        )?;
        one(&mut encoder, "ring_laps", "How many times the ring has been filled", None, &ConstCounter::new(laps))?;
        encode_counters(&mut encoder, counters)
    }
}

fn encode_counters(encoder: &mut DescriptorEncoder, counters: Counters) -> fmt::Result {
    let Counters {
        allocations,
        allocated_bytes,
        hops,
        exhausted,
        frames_written,
        bytes_written,
        frames_read,
        bytes_read,
        views,
        timeouts_overwritten,
        timeouts_not_written,
        timeouts_mismatch,
        reaped,
    } = counters;
    let bytes = Some(&Unit::Bytes);
    let mut counter = |name, help, unit, value: u64| one(encoder, name, help, unit, &ConstCounter::new(value));
    counter("allocations", "Frames allocated, whether written or not", None, allocations)?;
    counter("allocated", "Payload allocated", bytes, allocated_bytes)?;
    counter("hops", "Times that an allocation went past a range that somebody held", None, hops)?;
    counter("exhausted", "Allocations given up because the whole ring was held", None, exhausted)?;
    counter("frames_written", "Frames committed", None, frames_written)?;
    counter("written", "Payload committed", bytes, bytes_written)?;
    counter("frames_read", "Frames copied out", None, frames_read)?;
    counter("read", "Payload copied out", bytes, bytes_read)?;
    counter("views", "Frames viewed in place", None, views)?;
    counter("participants_reaped", "Dead participants whose slots were cleared", None, reaped)?;

    let kind = ConstCounter::new(0_u64).metric_type();
    let mut timeouts = encoder.encode_descriptor("timeouts", "Frames that were not there, by reason", None, kind)?;
    let reasons =
        [("overwritten", timeouts_overwritten), ("not_written", timeouts_not_written), ("mismatch", timeouts_mismatch)];
    for (reason, value) in reasons {
        ConstCounter::new(value).encode(timeouts.encode_family(&[("reason", reason)])?)?;
    }
    Ok(())
}

fn one(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_own_metric() {
        let counters = Counters {
            allocations: 11,
            allocated_bytes: 12,
            hops: 13,
            exhausted: 14,
            frames_written: 15,
            bytes_written: 16,
            frames_read: 17,
            bytes_read: 18,
            views: 19,
            timeouts_overwritten: 20,
            timeouts_not_written: 21,
            timeouts_mismatch: 22,
            reaped: 23,
        };
        let text = render(Some(Stats {
            size: 1,
            capacity: 2,
            head: 3,
            laps: 4,
            participants: 5,
            max_participants: 6,
            pins: 7,
            huge_pages: 8,
            created: SystemTime::UNIX_EPOCH,
            counters,
        }))
        .unwrap();
        let expected = "\
            framebuffer_ring_size_bytes 1|framebuffer_ring_capacity_bytes 2|\
            framebuffer_ring_huge_pages_bytes 8|framebuffer_ring_head_bytes 3|framebuffer_ring_laps_total 4|\
            framebuffer_participants 5|framebuffer_participants_limit 6|\
            framebuffer_pins 7|framebuffer_ring_created_timestamp_seconds 0.0|framebuffer_allocations_total 11|\
            framebuffer_allocated_bytes_total 12|framebuffer_hops_total 13|framebuffer_exhausted_total 14|\
            framebuffer_frames_written_total 15|framebuffer_written_bytes_total 16|framebuffer_frames_read_total 17|\
            framebuffer_read_bytes_total 18|framebuffer_views_total 19|\
            framebuffer_timeouts_total{reason=\"overwritten\"} 20|framebuffer_timeouts_total{reason=\"not_written\"} 21|\
            framebuffer_timeouts_total{reason=\"mismatch\"} 22|framebuffer_participants_reaped_total 23";
        for line in expected.split('|') {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn before_the_ring_is_there_only_the_version_is_known() {
        let text = render(None).unwrap();
        assert!(text.contains("framebuffer_build_info{version="), "{text}");
        assert!(!text.contains("framebuffer_ring"), "{text}");
    }
}
