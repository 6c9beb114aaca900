//! The machine of a run.

use std::{fs, path::Path, thread};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What the report says of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu_model: String,
    /// Cores that this process may use.
    pub cores: u64,
    /// Memory of the machine in bytes.
    pub memory_bytes: u64,
    /// Name and release of the kernel.
    pub kernel: String,
    /// Filesystem of the servers' data, with its mount options.
    pub filesystem: String,
    /// Disk of the servers' data: device, kind and size.
    pub disk: String,
}

impl Machine {
    /// Describes this machine; the servers' data will be in this folder.
    pub fn read(data: &Path) -> Result<Self> {
        let data = data.canonicalize().with_context(|| format!("finding {}", data.display()))?;
        let mounts = fs::read_to_string("/proc/mounts").context("reading the mounts")?;
        let mount = mount(&mounts, &data).context("the data's folder is in no mount")?;
        let cpus = fs::read_to_string("/proc/cpuinfo").context("reading about the processor")?;
        let memory = fs::read_to_string("/proc/meminfo").context("reading about the memory")?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading about the kernel")?;
        Ok(Self {
            cpu_model: field(&cpus, "model name").unwrap_or("unknown").to_owned(),
            cores: thread::available_parallelism()?.get() as u64,
            memory_bytes: field(&memory, "MemTotal").and_then(kibibytes).unwrap_or(0),
            kernel: format!("Linux {}", release.trim()),
            filesystem: format!("{} ({})", mount.kind, mount.options),
            disk: disk(mount.device, &data)?,
        })
    }
}

/// The value of the first line `name : value` with this name.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

fn kibibytes(value: &str) -> Option<u64> {
    value.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A line of `/proc/mounts`.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    device: &'a str,
    kind: &'a str,
    options: &'a str,
}

/// The deepest mount that contains the path; of several at one mount point, the last.
fn mount<'a>(mounts: &'a str, path: &Path) -> Option<Mount<'a>> {
    let mut found = None;
    let mut depth = 0;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(point), Some(kind), Some(options)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        if path.starts_with(point) && point.len() >= depth {
            depth = point.len();
            found = Some(Mount { device, kind, options });
        }
    }
    found
}

fn disk(device: &str, data: &Path) -> Result<String> {
    let space = rustix::fs::statvfs(data).context("asking for the disk's size")?;
    let size = super::text::bytes((space.f_blocks * space.f_frsize) as f64);
    let name = device.trim_start_matches("/dev/");
    let rotates = fs::read_to_string(format!("/sys/class/block/{name}/queue/rotational")).unwrap_or_default();
    let kind = match rotates.trim() {
        "0" => ", not rotating",
        "1" => ", said to rotate",
        _ => "",
    };
    Ok(format!("{device}{kind}, {size}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_holds_the_data() {
        let mounts = "/dev/a / ext4 rw 0 0\n/dev/b /data xfs ro,x 0 0\n/dev/c /dat btrfs rw 0 0\n";
        let at = |path| mount(mounts, Path::new(path)).map(|mount| (mount.device, mount.kind, mount.options));
        assert_eq!(at("/data/queues"), Some(("/dev/b", "xfs", "ro,x")));
        assert_eq!(at("/database"), Some(("/dev/a", "ext4", "rw")));
        assert_eq!(mount("nonsense\n", Path::new("/")), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotalX: 1 kB\nMemTotal:   2048 kB\nmodel name\t: A: B\n";
        assert_eq!(field(text, "MemTotal").and_then(kibibytes), Some(2_097_152));
        assert_eq!(field(text, "model name"), Some("A: B"));
        assert_eq!(field(text, "model"), None);
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::read(Path::new(".")).unwrap();
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(machine.kernel.len() > "Linux ".len() && machine.filesystem.ends_with(')'), "{machine:?}");
    }
}
