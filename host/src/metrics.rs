//! Prometheus metrics.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
    core::{Collector, GenericGauge},
};

/// Everything that `GET /metrics` shows.
pub struct Metrics {
    registry: Registry,
    /// Jobs by state.
    pub jobs: IntGaugeVec,
    /// Jobs ended, by outcome: `completed`, or the failure's reason.
    pub job_outcomes: IntCounterVec,
    /// Jobs of other workers that were to be started without their owners, by result: `started`, `failed`.
    pub takeovers: IntCounterVec,
    /// Bytes by channel (`http`, `enclave`, `network`, `takeover`) and direction (`in`, `out`).
    pub bytes: IntCounterVec,
    /// TCP connections that are open for the enclave's light client.
    pub connections: IntGauge,
    /// The enclave's own count of its peers.
    pub enclave_peers: IntGauge,
    /// Whether an enclave is connected and started.
    pub enclave_up: IntGauge,
    /// Whether the enclave takes no new work.
    pub enclave_paused: IntGauge,
    /// How often an enclave connected.
    pub enclave_connections: IntCounter,
    /// The newest finalized block that the enclave has verified.
    pub enclave_finalized_block: IntGauge,
    /// Jobs that the enclave runs.
    pub enclave_running_jobs: IntGauge,
    /// Jobs that wait in the enclave.
    pub enclave_queued_jobs: IntGauge,
    /// Programs that the enclave compiled or took from its cache.
    pub enclave_compilations: IntGaugeVec,
    /// The node's best block.
    pub node_best_block: IntGauge,
    /// The node's newest finalized block.
    pub node_finalized_block: IntGauge,
    /// Whether the node answered last time.
    pub node_up: IntGauge,
    /// Transactions by call and result: `included`, `refused`, `failed`.
    pub transactions: IntCounterVec,
    /// How long gatekeepers took to give a part of an app key, in seconds, by result: `given`, `refused`.
    pub key_parts: HistogramVec,
    /// Receipts that the chain has not settled yet.
    pub open_receipts: IntGauge,
    /// Requests by route and status.
    pub http_requests: IntCounterVec,
    /// HTTP connections that are open.
    pub http_connections: IntGauge,
    /// What was refused or cut off to protect the rest, by reason.
    pub http_rejected: IntCounterVec,
    /// Uploads under way.
    pub uploads: IntGauge,
    /// Blobs, outputs and uploads on disk.
    pub disk_bytes: IntGauge,
    /// Accounts that have blobs or uploads on disk.
    pub accounts: IntGauge,
    /// Blobs and uploads on disk that count for an account.
    pub account_bytes: IntGauge,
    memory_bytes: IntGauge,
}

/// Prefix of every name.
const NAMESPACE: &str = "phala_host";

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let r = &registry;
        Self {
            jobs: gauges(r, "jobs", "Jobs by state", &["state"]),
            job_outcomes: counters(r, "job_outcomes_total", "Jobs ended, by outcome", &["outcome"]),
            takeovers: counters(
                r,
                "takeovers_total",
                "Starts of other workers' jobs without their owners",
                &["result"],
            ),
            bytes: counters(r, "bytes_total", "Bytes moved", &["channel", "direction"]),
            connections: gauge(r, "connections", "TCP connections of the enclave's light client"),
            enclave_peers: gauge(r, "enclave_peers", "Peers of the enclave's light client"),
            enclave_up: gauge(r, "enclave_up", "Whether an enclave is connected and started"),
            enclave_paused: gauge(r, "enclave_paused", "Whether the enclave takes no new work"),
            enclave_connections: counter(r, "enclave_connections_total", "How often an enclave connected"),
            enclave_finalized_block: gauge(r, "enclave_finalized_block", "Newest finalized block the enclave verified"),
            enclave_running_jobs: gauge(r, "enclave_running_jobs", "Jobs that the enclave runs"),
            enclave_queued_jobs: gauge(r, "enclave_queued_jobs", "Jobs that wait in the enclave"),
            enclave_compilations: gauges(r, "enclave_compilations", "Programs compiled or cached", &["from"]),
            node_best_block: gauge(r, "node_best_block", "The node's best block"),
            node_finalized_block: gauge(r, "node_finalized_block", "The node's newest finalized block"),
            node_up: gauge(r, "node_up", "Whether the node answered last time"),
            transactions: counters(r, "transactions_total", "Transactions by call and result", &["call", "result"]),
            key_parts: histograms(r, "key_part_seconds", "Time until a gatekeeper gave its part", &["result"]),
            open_receipts: gauge(r, "open_receipts", "Receipts that the chain has not settled yet"),
            http_requests: counters(r, "http_requests_total", "HTTP requests", &["route", "status"]),
            http_connections: gauge(r, "http_connections", "HTTP connections that are open"),
            http_rejected: counters(r, "http_rejected_total", "Refused or cut off to protect the rest", &["reason"]),
            uploads: gauge(r, "uploads", "Uploads under way"),
            accounts: gauge(r, "accounts", "Accounts that have blobs or uploads on disk"),
            account_bytes: gauge(r, "account_bytes", "Blobs and uploads on disk that count for an account"),
            disk_bytes: gauge(r, "disk_bytes", "Blobs, outputs and uploads on disk"),
            memory_bytes: gauge(r, "resident_memory_bytes", "Resident memory of the process"),
            registry,
        }
    }
}

impl Metrics {
    /// Counts bytes of a channel.
    pub fn count_bytes(&self, channel: &str, direction: &str, bytes: usize) {
        self.bytes.with_label_values(&[channel, direction]).inc_by(bytes as u64);
    }

    /// Counts what is refused or cut off.
    pub fn reject(&self, reason: &str) {
        self.http_rejected.with_label_values(&[reason]).inc();
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        self.memory_bytes.set(resident_bytes().unwrap_or(0));
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        if let Err(error) = encoded {
            tracing::warn!(%error, "could not write metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect("every name is registered once");
    collector
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, GenericGauge::with_opts(options(name, help)).expect("the name is valid"))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(options(name, help), labels).expect("the name is valid"))
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::with_opts(options(name, help)).expect("the name is valid"))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(options(name, help), labels).expect("the name is valid"))
}

/// Of times between a hundredth of a second and ten.
fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let buckets = vec![0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 3.5, 5.0, 10.0];
    let options = HistogramOpts::new(name, help).namespace(NAMESPACE).buckets(buckets);
    register(registry, HistogramVec::new(options, labels).expect("the name is valid"))
}

/// The process's resident memory, from the second field of `/proc/self/statm`.
fn resident_bytes() -> Option<i64> {
    /// Of every platform that we run on. `sysconf` would need unsafe code.
    const PAGE_BYTES: i64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_ascii_whitespace().nth(1)?.parse::<i64>().ok()?.checked_mul(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_render() {
        let metrics = Metrics::default();
        metrics.count_bytes("http", "in", 7);
        let text = metrics.render();
        assert!(text.contains("phala_host_bytes_total{channel=\"http\",direction=\"in\"} 7"));
        assert!(text.contains("phala_host_resident_memory_bytes"));
        assert!(!text.contains("phala_host_resident_memory_bytes 0\n"));
    }
}
