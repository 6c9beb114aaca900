//! Files of the raw data.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

use super::machine::Machine;
use crate::{row::Row, system::Facts};

const ROWS: &str = "raw.csv";
const SYSTEMS: &str = "systems.json";
const RUN: &str = "run.json";

/// The measured version of Posthouse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posthouse {
    /// The commit; says so if the work tree had changes.
    pub commit: String,
    /// The version.
    pub version: String,
}

/// A run: date, command, machine and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Begin of the run, RFC 3339.
    pub date: String,
    /// The command that repeats it.
    pub command: String,
    /// The machine.
    pub machine: Machine,
    /// The measured version of Posthouse.
    pub posthouse: Posthouse,
    /// Earlier runs whose rows are in the same folder, the oldest first.
    #[serde(default)]
    pub before: Vec<Before>,
}

/// An earlier run whose rows are in the same raw data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Begin of the run, RFC 3339.
    pub date: String,
    /// The command that repeats it.
    pub command: String,
    /// The measured commit of Posthouse.
    pub commit: String,
}

/// All raw data of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// The run.
    pub run: Run,
    /// The measured systems.
    pub systems: Vec<Facts>,
    /// The measurements.
    pub rows: Vec<Row>,
}

impl Posthouse {
    /// The version in the current work tree.
    pub fn here() -> Self {
        let commit = match git(&["rev-parse", "HEAD"]) {
            Some(commit) if git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty()) => {
                commit
            }
            Some(commit) => format!("{commit}, with changes"),
            None => "unknown".to_owned(),
        };
        Self { commit, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

impl Run {
    /// A run that begins now; the servers' data will be in `data`.
    pub fn begin(command: &str, data: &Path) -> Result<Self> {
        let machine = Machine::read(data)?;
        let (date, posthouse) = (now(), Posthouse::here());
        Ok(Self { date, command: command.to_owned(), machine, posthouse, before: Vec::new() })
    }
}

fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second) = (now.hour(), now.minute(), now.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

impl Raw {
    /// Loads the raw data of a folder. An interrupted run may have left half a row, which is ignored.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(ROWS);
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let rows = csv::Reader::from_reader(&text[..whole(&text)])
            .deserialize()
            .collect::<Result<_, _>>()
            .with_context(|| format!("in {}", path.display()))?;
        let run = read(&folder.join(RUN))?.with_context(|| format!("{RUN} is missing"))?;
        Ok(Self { run, systems: read(&folder.join(SYSTEMS))?.unwrap_or_default(), rows })
    }
}

/// Number of bytes in complete lines.
fn whole(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => {
            Ok(Some(serde_json::from_slice(&text).with_context(|| format!("in {}", path.display()))?))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

fn save<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Writes the raw data while a run goes on, so that an interrupted run keeps its rows.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    rows: csv::Writer<File>,
    systems: Vec<Facts>,
}

impl Recorder {
    /// Opens a folder and appends to its raw data, if it has some.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(ROWS);
        let context = || format!("opening {}", path.display());
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(&path).with_context(context)?;
        let whole_bytes = whole(&fs::read(&path).with_context(context)?);
        file.set_len(whole_bytes as u64).with_context(context)?;
        let rows = csv::WriterBuilder::new().has_headers(whole_bytes == 0).from_writer(file);
        let systems = read(&folder.join(SYSTEMS))?.unwrap_or_default();
        Ok(Self { folder: folder.to_owned(), rows, systems })
    }

    /// Writes the description of this run; an earlier one moves to `before`.
    pub fn run(&self, mut run: Run) -> Result<()> {
        let path = self.folder.join(RUN);
        if let Some(Run { date, command, posthouse, before, .. }) = read(&path)? {
            run.before = before;
            run.before.push(Before { date, command, commit: posthouse.commit });
        }
        save(&path, &run)
    }

    /// Writes the facts of a system; they replace earlier ones.
    pub fn system(&mut self, facts: Facts) -> Result<()> {
        match self.systems.iter_mut().find(|known| known.system == facts.system) {
            Some(known) if *known == facts => return Ok(()),
            Some(known) => *known = facts,
            None => self.systems.push(facts),
        }
        save(&self.folder.join(SYSTEMS), &self.systems)
    }

    /// Appends a row and flushes it.
    pub fn row(&mut self, row: &Row) -> Result<()> {
        self.rows.serialize(row).context("writing a row")?;
        self.rows.flush().context("writing a row")
    }
}
