//! A disk that can be filled: a small file system in a mount namespace of its own.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{binaries, site::Site};

/// The variable that says that mounts are not allowed here, so that tests that need them are skipped knowingly.
const WITHOUT: &str = "POSTHOUSE_WITHOUT_MOUNTS";

/// A process that keeps a namespace with a small disk mounted on a folder.
pub struct SmallDisk(Child);

impl SmallDisk {
    /// Mounts a disk of this many KiB on a folder; `None` if nothing may be mounted here.
    pub fn mount(folder: &Path, kib: u64) -> Option<Self> {
        if std::env::var_os(WITHOUT).is_some() {
            println!("SKIPPED, as {WITHOUT} says: nothing is shown of a full disk");
            return None;
        }
        let script = format!("mount -t tmpfs -o size={kib}k tmpfs \"$0\" && echo mounted && exec cat");
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("unshare (util-linux) is missing");
        let mut first = [0; 8];
        let read = child.stdout.as_mut().unwrap().read_exact(&mut first);
        assert!(
            read.is_ok() && first == *b"mounted\n",
            "a small disk cannot be mounted here: run this as root, or set {WITHOUT}=1 to go without this test"
        );
        Some(Self(child))
    }

    /// The path of a file on the disk, as the test sees it.
    pub fn inside(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.0.id(), path.display()))
    }

    /// The server of a site, which sees the disk.
    pub fn serve(&self, site: &Site) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.0.id()));
        command.arg(binaries::posthouse()).arg("serve").arg("--config").arg(site.config());
        command
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes until the disk is full.
pub fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}
