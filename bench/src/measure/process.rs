//! Processor time, memory and written bytes of processes, from `/proc`.

use std::fs;

use crate::system::process::family;

/// Linux reports processor time in hundredths of a second, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds of processes and of their children that have ended.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|pid| cpu_seconds_of(*pid)).sum()
}

/// Processor seconds of one process; `None` if there is none with this id.
pub fn cpu_seconds_of(pid: u32) -> Option<f64> {
    cpu_ticks(pid).map(|ticks| ticks as f64 / TICKS_PER_SECOND)
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets, which may contain spaces and brackets.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<u64>().ok()).sum()
}

/// Processor seconds of this process.
pub fn own_cpu_seconds() -> f64 {
    cpu_seconds(&[std::process::id()])
}

/// Resident memory of processes in bytes; shared pages count once.
pub fn memory_bytes(pids: &[u32]) -> u64 {
    // For the proportional share the kernel walks all pages: a single process is spared that.
    let of_one = |pid: &u32| match pids.len() {
        1 => kib(&format!("/proc/{pid}/status"), "VmRSS:"),
        _ => kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:"),
    };
    pids.iter().filter_map(of_one).sum::<u64>() << 10
}

fn kib(path: &str, field: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}

/// Bytes that processes had written to the disk.
pub fn written_bytes(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| written(*pid)).sum()
}

fn written(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
}

/// The processes and all their descendants.
pub fn with_children(pids: &[u32]) -> Vec<u32> {
    let mut all: Vec<u32> = pids.iter().flat_map(|pid| family(*pid)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let before = own_cpu_seconds();
        let held = std::hint::black_box(vec![1_u8; 32 << 20]);
        let mut sum = 0_u64;
        // The other tests' threads use processor time too.
        loop {
            sum += held.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            if own_cpu_seconds() >= before + 0.05 {
                break;
            }
        }
        assert!(sum > 0);
        assert!(memory_bytes(&[std::process::id()]) > 32 << 20);
    }
}
