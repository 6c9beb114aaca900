//! What the operating system knows of a process.

use std::{fs, process::Command};

/// The peak of a process's resident memory, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    status(pid, "VmHWM:").expect("the process has ended")
}

/// Resets the peak that [`peak_memory`] returns.
pub fn forget_peak(pid: u32) {
    // 5 resets the peak, see proc_pid_clear_refs(5).
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// A process's resident memory, in bytes; `None` if it has ended.
pub fn memory(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

fn status(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Runs all threads of a process on these processors only, named as for `taskset -c`.
pub fn pin(pid: u32, processors: &str) {
    let pinned = Command::new("taskset").args(["-a", "-p", "-c", processors, &pid.to_string()]).output();
    let pinned = pinned.expect("taskset (util-linux) is missing");
    assert!(pinned.status.success(), "{}", String::from_utf8_lossy(&pinned.stderr));
}

/// Limits how many files a process may open, written as for `prlimit --nofile`: `SOFT:HARD` or `SOFT:`.
pub fn limit_files(pid: u32, limits: &str) {
    let arguments = ["--pid".to_owned(), pid.to_string(), format!("--nofile={limits}")];
    let limited = Command::new("prlimit").args(arguments).output().expect("prlimit (util-linux) is missing");
    assert!(limited.status.success(), "{limits}: {}", String::from_utf8_lossy(&limited.stderr));
}

/// The processor time that a process has used, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is the name in brackets, which may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux counts it in hundredths of a second.
    ticks as f64 / 100.0
}
