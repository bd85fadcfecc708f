//! [`Machine`]: the machine that was measured on.

use std::fs;
use std::thread::available_parallelism;

use serde::Serialize;

/// Features of the processor that copying and hashing may use.
const FEATURES: [&str; 7] = ["sse2", "avx2", "avx512f", "avx512vl", "erms", "fsrm", "hypervisor"];

/// The machine, as Linux describes it. Unknown fields are empty.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) features: Vec<&'static str>,
    /// The last level, as the kernel writes it.
    pub(crate) cache: String,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// The setting for private memory.
    pub(crate) huge_pages: String,
    /// The setting for shared memory.
    pub(crate) huge_pages_shared: String,
    /// The load average of the last minute, at the start of the run.
    pub(crate) load: String,
}

impl Machine {
    /// Looks at it.
    pub(crate) fn describe() -> Self {
        let processors = read("/proc/cpuinfo");
        let flags: Vec<&str> = field(&processors, "flags").split_whitespace().collect();
        let memory = read("/proc/meminfo");
        let kilobytes = field(&memory, "MemTotal").split_whitespace().next().and_then(|number| number.parse().ok());
        let caches =
            ["index3", "index2"].map(|index| read(&format!("/sys/devices/system/cpu/cpu0/cache/{index}/size")));
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            cpu: field(&processors, "model name").to_owned(),
            cores: available_parallelism().map_or(0, Into::into),
            features: FEATURES.into_iter().filter(|feature| flags.contains(feature)).collect(),
            cache: caches.into_iter().find(|cache| !cache.is_empty()).unwrap_or_default(),
            memory_bytes: kilobytes.unwrap_or(0_u64) * 1024,
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease")),
            huge_pages: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
            huge_pages_shared: chosen(&read("/sys/kernel/mm/transparent_hugepage/shmem_enabled")),
            load: read("/proc/loadavg").split_whitespace().next().unwrap_or_default().to_owned(),
        }
    }

    /// In a few lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Self { date, cpu, cores, features, cache, memory_bytes, kernel, huge_pages, huge_pages_shared, load } =
            self;
        vec![
            format!(
                "{cpu}, {cores} cores ({}), {cache} cache, {} GiB of memory",
                features.join(" "),
                memory_bytes >> 30
            ),
            format!("{kernel}, huge pages: {huge_pages}, in shared memory: {huge_pages_shared}; {date}, load {load}"),
        ]
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// The value of the first line `name : value`.
fn field<'t>(text: &'t str, name: &str) -> &'t str {
    let named = |line: &'t str| line.split_once(':').filter(|(key, _)| key.trim() == name);
    text.lines().find_map(named).map_or("", |(_, value)| value.trim())
}

/// The one in brackets: `always [madvise] never`.
fn chosen(setting: &str) -> String {
    let inside = setting.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or("", |(chosen, _)| chosen).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_settings_are_found_in_what_linux_writes() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: sse2 avx2\nmodel name\t: other";
        assert_eq!(field(text, "model name"), "AMD EPYC");
        assert_eq!(field(text, "no such"), "");
        assert_eq!(chosen("always [madvise] never"), "madvise");
    }
}
