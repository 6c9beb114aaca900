//! The operating system's figures of this process.

use std::fs;

use super::metrics::{ProcessMetrics, clamp};

/// Of the times in `/proc`, in a second. Linux shows 100 to programs whatever the kernel counts in.
const TICKS: f64 = 100.0;

/// Reads the figures again. Without `/proc` nothing changes.
pub(super) fn read(metrics: &ProcessMetrics) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        metrics.cpu.inc_by((stat.cpu_ticks / TICKS - metrics.cpu.get()).max(0.0));
        metrics.threads.set(clamp(stat.threads));
        if let Some(booted) = booted_at() {
            metrics.started.set(booted + stat.started_ticks / TICKS);
        }
    }
    if let Some(bytes) = resident() {
        metrics.resident.set(clamp(bytes));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The folder itself is open while it is read.
        metrics.fds.set(clamp(open.count().saturating_sub(1) as u64));
    }
    if let Some(max) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(max_fds) {
        metrics.max_fds.set(clamp(max));
    }
}

struct Stat {
    cpu_ticks: f64,
    threads: u64,
    started_ticks: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, and may hold anything.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            cpu_ticks: number(11)? + number(12)?,
            threads: fields.get(17)?.parse().ok()?,
            started_ticks: number(19)?,
        })
    }
}

fn booted_at() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1_024))
}

fn max_fds(limits: &str) -> Option<u64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_an_odd_name_is_read() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 33 0 1234 5 6";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.cpu_ticks, stat.threads, stat.started_ticks), (300.0, 33, 1_234.0));
        assert_eq!(max_fds("Max open files            1024                 4096  files\n"), Some(1_024));
    }
}
