//! What a server uses while something is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

use super::process::{cpu_seconds, memory_bytes, own_cpu_seconds, with_children, written_bytes};

/// Time between two samples of the memory.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// What was used in a measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor seconds of the server.
    pub server_cpu_seconds: f64,
    /// Processor seconds of this process.
    pub client_cpu_seconds: f64,
    /// The server's peak of resident memory, over all samples.
    pub server_memory_bytes: u64,
    /// Bytes that the server had written to the disk.
    pub disk_bytes: u64,
}

/// Measures from its creation to [`Watch::end`].
#[derive(Debug)]
pub struct Watch {
    pids: Vec<u32>,
    server_cpu: f64,
    client_cpu: f64,
    written: u64,
    peak_memory: Arc<AtomicU64>,
    sampler: JoinHandle<()>,
}

impl Watch {
    /// Begins to measure a server's processes.
    pub fn begin(pids: Vec<u32>) -> Self {
        let peak_memory = Arc::new(AtomicU64::new(0));
        let now = with_children(&pids);
        Self {
            server_cpu: cpu_seconds(&now),
            client_cpu: own_cpu_seconds(),
            written: written_bytes(&now),
            sampler: tokio::spawn(sample_memory(pids.clone(), Arc::clone(&peak_memory))),
            pids,
            peak_memory,
        }
    }

    /// What was used since the beginning.
    pub fn end(&self) -> Usage {
        let now = with_children(&self.pids);
        Usage {
            server_cpu_seconds: cpu_seconds(&now) - self.server_cpu,
            client_cpu_seconds: own_cpu_seconds() - self.client_cpu,
            server_memory_bytes: self.peak_memory.load(Ordering::Relaxed).max(memory_bytes(&now)),
            disk_bytes: written_bytes(&now).saturating_sub(self.written),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}

async fn sample_memory(pids: Vec<u32>, peak: Arc<AtomicU64>) {
    loop {
        peak.fetch_max(memory_bytes(&with_children(&pids)), Ordering::Relaxed);
        tokio::time::sleep(SAMPLE_INTERVAL).await;
    }
}
