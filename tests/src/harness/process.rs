//! What the operating system says of a process.

use std::{fs, process::Command};

/// The most memory that a process has had resident, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    status(pid, "VmHWM:").expect("the process has ended")
}

/// Forgets the peak that [`peak_memory`] tells.
pub fn forget_peak(pid: u32) {
    // Its fifth command, see proc_pid_clear_refs(5).
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// The memory that a process has resident, in bytes; `None` when it has ended.
pub fn memory(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

fn status(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Has all threads of a process run on these processors only, as `taskset -c` names them.
pub fn pin(pid: u32, processors: &str) {
    let pinned = Command::new("taskset").args(["-a", "-p", "-c", processors, &pid.to_string()]).output();
    let pinned = pinned.expect("taskset (util-linux) is missing");
    assert!(pinned.status.success(), "{}", String::from_utf8_lossy(&pinned.stderr));
}

/// Sets how many files a process may have open, as `prlimit --nofile` takes it: `SOFT:HARD`, `SOFT:`.
pub fn limit_files(pid: u32, limits: &str) {
    let arguments = ["--pid".to_owned(), pid.to_string(), format!("--nofile={limits}")];
    let limited = Command::new("prlimit").args(arguments).output().expect("prlimit (util-linux) is missing");
    assert!(limited.status.success(), "{limits}: {}", String::from_utf8_lossy(&limited.stderr));
}

/// Processor time that a process has used so far.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is the name in brackets, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux tells it in hundredths, whatever its own clock.
    ticks as f64 / 100.0
}
