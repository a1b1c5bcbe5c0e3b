//! The process's own figures, under the names that every Prometheus client uses.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge};

/// Reads memory, CPU time and open files when asked.
pub(crate) struct ProcessMetrics {
    cpu_seconds: Gauge,
    resident_bytes: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
}

impl ProcessMetrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            cpu_seconds: Gauge::new("process_cpu_seconds_total", "User and system CPU time in seconds")?,
            resident_bytes: IntGauge::new("process_resident_memory_bytes", "Resident memory in bytes")?,
            open_files: IntGauge::new("process_open_fds", "Open file descriptors")?,
            max_files: IntGauge::new("process_max_fds", "The most file descriptors that may be open")?,
        })
    }

    fn read(&self) {
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let times = [usage.user_time(), usage.system_time()];
            self.cpu_seconds.set(times.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).iter().sum());
        }
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes);
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            self.open_files.set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
        if let Ok((soft, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            self.max_files.set(i64::try_from(soft).unwrap_or(i64::MAX));
        }
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [&self.resident_bytes, &self.open_files, &self.max_files];
        gauges.into_iter().flat_map(Collector::desc).chain(self.cpu_seconds.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        let gauges = [&self.resident_bytes, &self.open_files, &self.max_files];
        gauges.into_iter().flat_map(Collector::collect).chain(self.cpu_seconds.collect()).collect()
    }
}

fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
