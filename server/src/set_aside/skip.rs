//! Skips an entry that halts its shard, and sets the department that it names aside.

use std::path::Path;

use posthouse_engine::{
    ids::{DepartmentId, ShardId},
    layered::Layered,
    machine::{ShardMachine, departments_of},
    schema::{Batch, SetAsideRow},
};

use super::{
    SetAside, SetAsideError,
    folder::{StoppedFolder, described, unreadable},
    rehearse::{Ended, Halting, Rehearsal},
};
use crate::{
    log::OpenLog,
    shard::{Blame, HaltedBy, guarded, hex},
};

/// The least of a digest that names an entry, in hexadecimal digits.
const LEAST_DIGITS: usize = 16;

/// The entry to skip, the operator and the reason.
#[derive(Debug, Clone)]
pub struct SkipEntry {
    /// The shard that halts.
    pub shard: u16,
    /// The entry of its log that halts it.
    pub index: u64,
    /// SHA-256 of the entry in hex, or at least its first 16 digits: so that no other entry is skipped by mistake.
    pub digest: String,
    /// The operator.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The wall clock's time, Unix milliseconds.
    pub now_ms: u64,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// It is done.
    Now {
        /// What is set aside.
        set_aside: SetAside,
        /// Why the entry halted its shard.
        why: String,
        /// How many commands it held, none of which is done.
        commands: usize,
        /// An entry behind it halts the shard, too: its index and its digest.
        next: Option<(u64, String)>,
    },
    /// It was done before.
    Before(SetAside),
}

/// Skips an entry. `step` is called with the next step.
///
/// # Errors
/// When the folder cannot be used, or the entry is not one that halts its shard by itself, or names no department of it
/// or several. Nothing is changed then.
pub fn skip_entry(
    dir: &Path,
    skip: &SkipEntry,
    step: &mut dyn FnMut(&str),
) -> Result<Skipped, SetAsideError> {
    let digits = digits(&skip.digest)?;
    step("the folder");
    let folder = StoppedFolder::open(dir)?;
    let shard = shard(&folder, skip.shard)?;
    if let Some(before) = done_before(&folder, skip, &digits)? {
        return Ok(Skipped::Before(before));
    }
    step("the entries before");
    let rehearsed = rehearse(&folder, shard, skip, &digits)?;
    let Rehearsed { department, by, commands, mark, next } = rehearsed;
    let set_aside = described(&folder.name(department), shard, mark.clone());
    step("the store");
    folder
        .change(shard, skip.index - 1, |machine, store| machine.skip(store, skip.index, department, &mark))?;
    let next = next.map(|next| (next.index, hex(&next.digest)));
    Ok(Skipped::Now { set_aside, why: by.stop.to_string(), commands, next })
}

/// A digest, or its beginning.
fn digits(digest: &str) -> Result<String, SetAsideError> {
    let digits = digest.trim().to_ascii_lowercase();
    let fits = (LEAST_DIGITS..=64).contains(&digits.len());
    if fits && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    Err(SetAsideError::refused(
        format!("{digest:?} is no digest: it takes {LEAST_DIGITS} to 64 hexadecimal digits"),
        "copy it from the server's log, or from `posthouse store check`",
    ))
}

fn shard(folder: &StoppedFolder, shard: u16) -> Result<ShardId, SetAsideError> {
    let shards = folder.data.shards();
    if shard < shards {
        return Ok(ShardId(shard));
    }
    Err(SetAsideError::refused(
        format!("there is no shard {shard}: the folder has shards 0 to {}", shards - 1),
        "name the shard that the server's log, or `posthouse store check`, says is halted",
    ))
}

/// The mark that this entry was skipped with, if it was.
fn done_before(
    folder: &StoppedFolder,
    skip: &SkipEntry,
    digits: &str,
) -> Result<Option<SetAside>, SetAsideError> {
    let mut marks = folder.set_aside()?.into_iter();
    let found = marks.find(|mark| mark.shard == skip.shard && mark.index == skip.index);
    match found {
        Some(mark) if !mark.digest.starts_with(digits) => Err(other_digest(skip, &mark.digest)),
        found => Ok(found),
    }
}

fn other_digest(skip: &SkipEntry, digest: &str) -> SetAsideError {
    SetAsideError::refused(
        format!("entry {} of shard {} has the digest {digest}, not {}", skip.index, skip.shard, skip.digest),
        "look again at which entry of which folder halts its shard: `posthouse store check` says it",
    )
}

/// The change to make.
struct Rehearsed {
    department: DepartmentId,
    by: HaltedBy,
    commands: usize,
    mark: SetAsideRow,
    next: Option<HaltedBy>,
}

fn rehearse(
    folder: &StoppedFolder,
    shard: ShardId,
    skip: &SkipEntry,
    digits: &str,
) -> Result<Rehearsed, SetAsideError> {
    let mut rehearsal = folder.shard(shard)?;
    let Halting { by, batch } = halting(folder, &mut rehearsal, shard, skip)?;
    let digest = hex(&by.digest);
    if !digest.starts_with(digits) {
        return Err(other_digest(skip, &digest));
    }
    match by.stop.blame() {
        Blame::Entry => {}
        Blame::Program => {
            return Err(SetAsideError::refused(
                format!("entry {} of shard {} is not to blame: {}", skip.index, shard.0, by.stop),
                "start the version that wrote it, or a newer one",
            ));
        }
        Blame::Rows => {
            return Err(SetAsideError::refused(
                format!(
                    "entry {} of shard {} is not to blame, but this disk: {}",
                    skip.index, shard.0, by.stop
                ),
                "run `posthouse store check`, check the disk, and restore the data folder from a backup",
            ));
        }
    }
    let (department, batch) = only_department(folder, shard, skip, batch)?;
    let mark = SetAsideRow {
        index: skip.index,
        digest: by.digest.to_vec().into(),
        at_ms: skip.now_ms,
        by: skip.by.clone(),
        why: skip.reason.clone(),
    };
    let commands = batch.commands.len();
    let next = try_out(folder, &rehearsal, shard, department, &mark, batch)?;
    Ok(Rehearsed { department, by, commands, mark, next })
}

/// The entry that halts the shard, if it is the one that is asked for.
fn halting(
    folder: &StoppedFolder,
    rehearsal: &mut Rehearsal<'_>,
    shard: ShardId,
    skip: &SkipEntry,
) -> Result<Halting, SetAsideError> {
    let (applied, last) = (rehearsal.applied(), folder.last(shard));
    let refused = |what: String, next: &str| Err(SetAsideError::refused(what, next));
    let (index, number) = (skip.index, shard.0);
    if index <= applied {
        let what = format!(
            "entry {index} of shard {number} is applied already; the log goes on at entry {}",
            applied + 1
        );
        return refused(
            what,
            "name the entry that halts the shard: `posthouse store check` says which one it is",
        );
    }
    if index > last {
        let what = format!("there is no entry {index}: the log of shard {number} ends at entry {last}");
        return refused(
            what,
            "name the entry that halts the shard: `posthouse store check` says which one it is",
        );
    }
    match run(rehearsal, &folder.log, last)? {
        Ended::Halted(halting) if halting.by.index == index => Ok(*halting),
        Ended::Halted(halting) => {
            let by = halting.by;
            let what = format!(
                "shard {number} is not halted by entry {index}, but by entry {}, whose digest is {}",
                by.index,
                hex(&by.digest)
            );
            refused(what, "look at that entry; only the one that halts its shard can be skipped")
        }
        Ended::Applied => refused(
            format!(
                "entry {index} of shard {number} does not halt it: every entry of its log can be applied"
            ),
            "start the server",
        ),
    }
}

fn run(rehearsal: &mut Rehearsal<'_>, log: &OpenLog, to: u64) -> Result<Ended, SetAsideError> {
    rehearsal.run(log, to).map_err(|why| SetAsideError::Log(why.into()))
}

/// The one department that an entry names.
fn only_department(
    folder: &StoppedFolder,
    shard: ShardId,
    skip: &SkipEntry,
    batch: Option<Batch>,
) -> Result<(DepartmentId, Batch), SetAsideError> {
    let entry = format!("entry {} of shard {}", skip.index, shard.0);
    let next = "report it with the server's log; a backup from before the entry, or a version that can apply it, helps";
    let Some(batch) = batch else {
        return Err(SetAsideError::refused(
            format!("{entry} cannot be read, so that it names no department"),
            next,
        ));
    };
    let named: Vec<DepartmentId> = departments_of(&batch).into_iter().collect();
    match *named {
        [department] => Ok((department, batch)),
        [] => {
            Err(SetAsideError::refused(format!("{entry} names no department that could be set aside"), next))
        }
        _ => {
            let names: Vec<String> = named.iter().map(|id| folder.name(*id)).collect();
            Err(SetAsideError::refused(
                format!("{entry} names several departments: {}", names.join(", ")),
                next,
            ))
        }
    }
}

/// Rehearses the change: the mark can be made, and neither the entry nor those behind it halt the shard while the
/// department is set aside. Returns an entry behind it that halts the shard.
fn try_out(
    folder: &StoppedFolder,
    rehearsal: &Rehearsal<'_>,
    shard: ShardId,
    department: DepartmentId,
    mark: &SetAsideRow,
    batch: Batch,
) -> Result<Option<HaltedBy>, SetAsideError> {
    let machine = ShardMachine::hydrate(shard, &rehearsal.rows).map_err(|halt| unreadable(&halt))?;
    let mut after = Layered::over(&rehearsal.rows);
    let writes = machine.skip(&rehearsal.rows, mark.index, department, mark);
    after.write(writes.map_err(|halt| {
        SetAsideError::refused(
            format!("{} cannot be set aside: {halt}", folder.name(department)),
            "report it with the server's log",
        )
    })?);
    let mut again = ShardMachine::hydrate(shard, &after).map_err(|halt| unreadable(&halt))?;
    // The department's commands are refused now. Whatever still halts the shard belongs to another department, for
    // example a timer.
    if let Err(stop) = guarded(|| again.apply(&after, mark.index + 1, batch)) {
        return Err(SetAsideError::refused(
            format!(
                "entry {} of shard {} halts it also with {} set aside, so that something else is to blame: {stop}",
                mark.index,
                shard.0,
                folder.name(department)
            ),
            "report it with the server's log; a version that can apply the entry helps",
        ));
    }
    let mut behind = Rehearsal::begin(shard, &after).map_err(|halt| unreadable(&halt))?;
    Ok(match run(&mut behind, &folder.log, u64::MAX)? {
        Ended::Applied => None,
        Ended::Halted(halting) => Some(halting.by),
    })
}
