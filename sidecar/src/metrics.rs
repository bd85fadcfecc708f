//! The figures of the ring and its channels as `OpenMetrics` text.

use std::fmt;
use std::iter::once;

use framebuffer::{ChannelInfo, Metric, MetricKind, MetricUnit, MetricValue, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The content type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics: of the ring, if it is there, and then of its channels, one family after the other. The channels are
/// looked at anew for each piece, so that none of this is held by whoever takes it slowly.
pub fn pieces<C>(stats: Option<Stats>, channels: C) -> impl Iterator<Item = String> + Send + Unpin
where
    C: Fn() -> Vec<ChannelInfo> + Send + Unpin,
{
    let ring = move || {
        let mut registry = registry();
        registry.register("build", "The sidecar's version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        if let Some(stats) = stats {
            registry.register_collector(Box::new(RingCollector(stats)));
        }
        text_of(&registry)
    };
    let families = (0..).map_while(move |place| {
        let channels = channels();
        let has_family = channels.first().is_some_and(|channel| channel.metrics().nth(place).is_some());
        has_family.then(|| {
            let mut registry = registry();
            registry.register_collector(Box::new(ChannelsCollector { channels, place }));
            text_of(&registry)
        })
    });
    once(ring()).chain(families).chain(once("# EOF\n".to_owned()))
}

fn registry() -> Registry {
    Registry::with_prefix("framebuffer")
}

/// Without the end of the text.
fn text_of(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = text::encode_registry(&mut text, registry);
    text
}

#[derive(Debug)]
struct RingCollector(Stats);

impl Collector for RingCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let metrics: Vec<_> = self.0.metrics().collect();
        let mut families = metrics.chunk_by(|(a, _), (b, _)| a.name == b.name);
        families.try_for_each(|family| encode_family(&mut encoder, family))
    }
}

/// Encodes metrics of one name: one without a label, or several with one each.
fn encode_family(encoder: &mut DescriptorEncoder, family: &[(Metric, MetricValue)]) -> fmt::Result {
    let Some((metric, _)) = family.first() else { return Ok(()) };
    let (unit, metric_type) = (unit_of(metric), type_of(metric));
    let mut descriptor = encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), metric_type)?;
    match family {
        [(Metric { label: None, .. }, value)] => encode_value(descriptor, metric.kind, *value),
        labelled => labelled.iter().try_for_each(|(metric, value)| {
            encode_value(descriptor.encode_family(&metric.label.as_slice())?, metric.kind, *value)
        }),
    }
}

/// The figures number `place` of all channels: at most 64, so the values of the label `channel` are bounded. A label's
/// value is escaped as the format wants it, though no name has a character that needs it.
#[derive(Debug)]
struct ChannelsCollector {
    channels: Vec<ChannelInfo>,
    place: usize,
}

impl Collector for ChannelsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let figures = || self.channels.iter().filter_map(|channel| Some((channel, channel.metrics().nth(self.place)?)));
        let Some((_, (metric, _))) = figures().next() else { return Ok(()) };
        let (unit, metric_type) = (unit_of(&metric), type_of(&metric));
        let mut descriptor = encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), metric_type)?;
        for (channel, (metric, value)) in figures() {
            let Some(value) = value else { continue };
            let label = [("channel", channel.name.as_str())];
            encode_value(descriptor.encode_family(&label)?, metric.kind, value)?;
        }
        Ok(())
    }
}

fn unit_of(metric: &Metric) -> Option<Unit> {
    metric.unit.map(|unit| match unit {
        MetricUnit::Bytes => Unit::Bytes,
        MetricUnit::Seconds => Unit::Seconds,
        other => Unit::Other(other.as_str().to_owned()),
    })
}

fn type_of(metric: &Metric) -> MetricType {
    match metric.kind {
        MetricKind::Counter => MetricType::Counter,
        MetricKind::Gauge => MetricType::Gauge,
    }
}

fn encode_value(encoder: MetricEncoder<'_>, kind: MetricKind, value: MetricValue) -> fmt::Result {
    match (kind, value) {
        (MetricKind::Counter, MetricValue::Integer(value)) => ConstCounter::new(value).encode(encoder),
        (MetricKind::Counter, MetricValue::Seconds(value)) => ConstCounter::new(value).encode(encoder),
        (MetricKind::Gauge, MetricValue::Integer(value)) => ConstGauge::new(value).encode(encoder),
        (MetricKind::Gauge, MetricValue::Seconds(value)) => ConstGauge::new(value).encode(encoder),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use framebuffer::Counters;

    use super::*;

    fn render(stats: Option<Stats>, channels: Vec<ChannelInfo>) -> String {
        pieces(stats, move || channels.clone()).collect()
    }

    /// Every figure has a value of its own.
    pub(crate) fn stats() -> Stats {
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
        Stats {
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
        }
    }

    #[test]
    fn every_figure_has_its_own_metric() {
        let text = render(Some(stats()), Vec::new());
        let expected = "\
            framebuffer_ring_size_bytes 1|framebuffer_ring_capacity_bytes 2|\
            framebuffer_ring_huge_pages_bytes 8|framebuffer_ring_head_bytes 3|framebuffer_ring_laps_total 4|\
            framebuffer_participants 5|framebuffer_participants_limit 6|\
            framebuffer_pins 7|framebuffer_ring_created_timestamp_seconds 0.0|framebuffer_allocations_total 11|\
            framebuffer_allocated_bytes_total 12|framebuffer_hops_total 13|framebuffer_exhausted_total 14|\
            framebuffer_frames_written_total 15|framebuffer_written_bytes_total 16|framebuffer_frames_read_total 17|\
            framebuffer_read_bytes_total 18|framebuffer_views_total 19|\
            framebuffer_timeouts_total{reason=\"overwritten\"} 20|\
            framebuffer_timeouts_total{reason=\"not_written\"} 21|\
            framebuffer_timeouts_total{reason=\"mismatch\"} 22|framebuffer_participants_reaped_total 23";
        for line in expected.split('|') {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn before_the_ring_is_there_only_the_version_is_known() {
        let text = render(None, Vec::new());
        assert!(text.contains("framebuffer_build_info{version="), "{text}");
        assert!(!text.contains("framebuffer_ring"), "{text}");
    }

    /// The metrics that a text names, without labels.
    fn names(text: &str) -> BTreeSet<&str> {
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        words.filter(|word| word.starts_with("framebuffer_")).collect()
    }

    /// The channels of a ring of its own: one over which frames were sent, with a slow lossless subscriber, and one
    /// without any.
    fn channels() -> Vec<ChannelInfo> {
        let dir = tempfile::tempdir().unwrap();
        let key = || framebuffer::Key::new("channels").unwrap();
        let _server = framebuffer::FrameBufferServer::options(1 << 20).key(key()).dir(dir.path()).start().unwrap();
        let client = || framebuffer::FrameBufferClient::options(key()).dir(dir.path()).open().unwrap();
        let (writer, reader) = (client(), client());
        let _quiet = reader.subscriber("a/quiet").unwrap();
        let mut slow = reader.subscriber_options("camera").lossless().open().unwrap();
        let mut hasty = writer.subscriber("camera").unwrap();
        let mut publisher = writer.publisher_options("camera").keep(8).open().unwrap();
        for _ in 0..5 {
            publisher.send(&[1; 100]).unwrap();
        }
        slow.try_next().unwrap().unwrap();
        hasty.latest().unwrap().unwrap();
        framebuffer::channels(dir.path(), &key()).unwrap()
    }

    /// A connection may hold 22 KiB of an answer, and hyper asks for a piece when it has less than 8 KiB left to send.
    #[test]
    fn however_many_channels_there_are_and_whatever_they_are_called_no_piece_is_long() {
        let dir = tempfile::tempdir().unwrap();
        let key = || framebuffer::Key::new("channels").unwrap();
        let _server = framebuffer::FrameBufferServer::options(1 << 20).key(key()).dir(dir.path()).start().unwrap();
        let client = framebuffer::FrameBufferClient::options(key()).dir(dir.path()).open().unwrap();
        for number in 0..64 {
            client.publisher(&format!("{number:x>63}")).unwrap().send(b"1").unwrap();
        }
        let channels = framebuffer::channels(dir.path(), &key()).unwrap();
        let lengths: Vec<_> = pieces(Some(stats()), move || channels.clone()).map(|piece| piece.len()).collect();
        assert!(lengths.iter().sum::<usize>() > 60_000 && lengths.iter().all(|length| *length < 12_000), "{lengths:?}");
    }

    #[test]
    fn every_channel_has_its_own_figures() {
        let text = render(Some(stats()), channels());
        let expected = "\
            framebuffer_channel_frames_sent_total{channel=\"camera\"} 5|\
            framebuffer_channel_frames_sent_total{channel=\"a/quiet\"} 0|\
            framebuffer_channel_sent_bytes_total{channel=\"camera\"} 500|\
            framebuffer_channel_frames_lost_total{channel=\"camera\"} 0|\
            framebuffer_channel_frames_skipped_total{channel=\"camera\"} 4|\
            framebuffer_channel_publishers{channel=\"camera\"} 1|\
            framebuffer_channel_publishers{channel=\"a/quiet\"} 0|\
            framebuffer_channel_subscribers{channel=\"camera\"} 2|\
            framebuffer_channel_lossless_subscribers{channel=\"camera\"} 1|\
            framebuffer_channel_lossless_subscribers{channel=\"a/quiet\"} 0|\
            framebuffer_channel_unread_frames{channel=\"camera\"} 4|\
            framebuffer_channel_unread_frames{channel=\"a/quiet\"} 0|\
            # TYPE framebuffer_channel_last_frame_age_seconds gauge|\
            # UNIT framebuffer_channel_last_frame_age_seconds seconds";
        for line in expected.split('|') {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        let ages: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("framebuffer_channel_last_frame_age_seconds{")).collect();
        let [age] = ages[..] else { panic!("one channel has a last frame: {text}") };
        let age: f64 = age.strip_prefix("channel=\"camera\"} ").unwrap().parse().unwrap();
        assert!((0.0..60.0).contains(&age), "{age}");
    }

    #[test]
    fn the_readme_lists_these_metrics_and_no_others() {
        let text = render(Some(stats()), channels());
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(names(include_str!("../README.md")), names(&samples.join("\n")));
    }
}
