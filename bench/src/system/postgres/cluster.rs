//! Programs and data folder of the server. Under root they run as the account `postgres`, since PostgreSQL refuses
//! root.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// Folder of the server's programs on Debian, which is not in the PATH.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// The account that Debian's package makes.
const ACCOUNT: &str = "postgres";

/// A data folder and its owner.
#[derive(Debug)]
pub struct Cluster {
    /// The data folder.
    pub data: PathBuf,
    account: Option<(u32, u32)>,
}

impl Cluster {
    /// Creates a data folder in this one.
    pub async fn make(folder: &Path) -> Result<Self> {
        let root = fs::metadata("/proc/self").context("/proc")?.uid() == 0;
        let cluster = Self { data: folder.join("data"), account: root.then(account).transpose()? };
        DirBuilder::new().mode(0o700).create(&cluster.data).context("the data folder of postgres")?;
        if let Some((user, group)) = cluster.account {
            chown(&cluster.data, Some(user), Some(group)).context("giving the data folder to postgres")?;
            let mode = fs::metadata(folder)?.mode() | 0o011;
            fs::set_permissions(folder, Permissions::from_mode(mode))?;
            check_access(folder)?;
        }
        let log = folder.join("initdb.log");
        let mut initdb = cluster.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--no-locale", "--encoding=UTF8"]);
        initdb.args(["--wal-segsize=64", "--pgdata"]).arg(&cluster.data);
        run(initdb, &log).await.context("initdb")?;
        Ok(cluster)
    }

    /// One of the server's programs, run as the account that owns the data.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(Path::new(PROGRAMS).join(program));
        command.current_dir("/").stdin(Stdio::null());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// Stops the server without waiting for its clients, and waits until it has ended.
    pub async fn stop(&self, log: &Path) -> Result<()> {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "--mode=fast", "--wait", "--timeout=60", "--pgdata"]).arg(&self.data);
        run(stop, log).await.context("stopping postgres")
    }
}

/// Runs a program to its end.
async fn run(mut command: Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| log.display().to_string())?;
    command.stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
    let status = command.status().await.context("it does not start: is it installed? `make bench` does")?;
    ensure!(status.success(), "{status}, see {}", log.display());
    Ok(())
}

/// The ids of the account's user and group.
fn account() -> Result<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let fields = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let ids = fields
        .filter(|fields| fields.first() == Some(&ACCOUNT))
        .find_map(|fields| Some((fields.get(2)?.parse::<u32>().ok()?, fields.get(3)?.parse::<u32>().ok()?)));
    ids.context("there is no account `postgres`: is it installed? `make bench` does")
}

/// Fails if the account cannot reach the folder; the modes of other folders are not changed for it.
fn check_access(folder: &Path) -> Result<()> {
    for parent in fs::canonicalize(folder)?.ancestors() {
        let open = fs::metadata(parent)?.mode() & 0o001 != 0;
        ensure!(open, "{} is closed to the account `postgres`: use a folder elsewhere", parent.display());
    }
    Ok(())
}
