//! Processor time and disk writes of a limit's process.

use anyhow::{Context as _, Result};

use crate::measure::process::{cpu_seconds_of, written_bytes};

/// What one process used since it started, or between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor time of the process.
    pub cpu_seconds: f64,
    /// Bytes that the process had written to the disk.
    pub written_bytes: u64,
}

impl Usage {
    /// Usage of this process.
    pub fn own() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// Usage of the process with this id.
    pub fn of(pid: u32) -> Result<Self> {
        let cpu_seconds = cpu_seconds_of(pid).with_context(|| format!("there is no process {pid}"))?;
        Ok(Self { cpu_seconds, written_bytes: written_bytes(&[pid]) })
    }

    /// The difference from an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn work_takes_processor_time() {
        let (before, start) = (Usage::own().unwrap(), Instant::now());
        while Usage::own().unwrap().since(before).cpu_seconds < 0.05 {
            assert!(start.elapsed() < Duration::from_secs(30));
        }
        assert!(Usage::of(u32::MAX).is_err());
    }
}
