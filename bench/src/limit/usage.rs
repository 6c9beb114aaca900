//! What the operating system says that a process has used.

use std::fs;

use anyhow::{Context as _, Result};

/// Of one process, since it started or between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor time.
    pub cpu_seconds: f64,
    /// Bytes written to the disk.
    pub written_bytes: u64,
}

impl Usage {
    /// Of this process.
    pub fn own() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// Of another.
    pub fn of(pid: u32) -> Result<Self> {
        let stat = read(&format!("/proc/{pid}/stat"))?;
        // The second field is the name in brackets, which may hold anything.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
        let ticks = fields.into_iter().flatten().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.sum::<Result<u64, _>>().context("its processor time is no number")?;
        // Elsewhere than on a disk there may be none.
        let io = read(&format!("/proc/{pid}/io")).unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        let written_bytes = written.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        // Linux tells it in hundredths, whatever its own clock.
        Ok(Self { cpu_seconds: ticks as f64 / 100.0, written_bytes })
    }

    /// What was used from `earlier` on.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
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
