//! Opens a department that was set aside, once its rows are found to be whole.

use std::path::Path;

use posthouse_engine::{check::check_department, machine::ShardMachine};

use super::{
    SetAside, SetAsideError,
    folder::{StoppedFolder, described, unreadable},
    rehearse::Ended,
};
use crate::shard::hex;

/// Problems that are shown.
const MAX_SHOWN_PROBLEMS: usize = 20;

/// Which department is opened again.
#[derive(Debug, Clone)]
pub struct ReopenDepartment {
    /// `tenants/{tenant}/departments/{department}`, or the two names with a slash between.
    pub department: String,
    /// Opens it although its rows do not fit together: its next command or timer may halt its shard again, for all
    /// departments on it.
    pub force: bool,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reopened {
    /// It is open again.
    Now {
        /// How it had been set aside.
        was: SetAside,
        /// The problems of its rows.
        problems: Vec<String>,
        /// No configuration names it any more.
        closed: bool,
    },
    /// It was not set aside.
    IsOpen(String),
}

/// Opens a department again. `step` is called with the next step.
///
/// # Errors
/// When the folder cannot be used, there is no such department, its shard is halted, or its rows do not fit together
/// and `force` is not set. Nothing is changed then.
pub fn reopen_department(
    dir: &Path,
    reopen: &ReopenDepartment,
    step: &mut dyn FnMut(&str),
) -> Result<Reopened, SetAsideError> {
    step("the folder");
    let folder = StoppedFolder::open(dir)?;
    let name = full(&reopen.department);
    let Some(department) = folder.department(&name).cloned() else { return Err(unknown(&folder, &name)?) };
    let (id, shard) = (department.id, department.shard);
    step("the log");
    let mut rehearsal = folder.shard(shard)?;
    let ended = rehearsal.run(&folder.log, u64::MAX).map_err(|why| SetAsideError::Log(why.into()))?;
    if let Ended::Halted(halting) = ended {
        let by = halting.by;
        return Err(SetAsideError::refused(
            format!(
                "shard {} is halted by entry {} (digest {}): {}",
                shard.0,
                by.index,
                hex(&by.digest),
                by.stop
            ),
            "see to that first: `posthouse store check` says what can be done",
        ));
    }
    let mark = ShardMachine::set_aside(&rehearsal.rows, id).map_err(|halt| unreadable(&halt))?;
    let Some(mark) = mark else { return Ok(Reopened::IsOpen(name)) };
    step("the department's rows");
    let problems = check_department(shard, id, &rehearsal.rows).err().unwrap_or_default();
    if !problems.is_empty() && !reopen.force {
        return Err(broken(&name, problems));
    }
    let (to, was) = (rehearsal.applied(), described(&name, shard, mark));
    step("the store");
    drop(rehearsal);
    folder.change(shard, to, move |machine, store| machine.reopen(store, id))?;
    Ok(Reopened::Now { was, problems: some(problems), closed: department.closed })
}

/// The full name of a department.
fn full(name: &str) -> String {
    match name.split('/').collect::<Vec<_>>()[..] {
        [tenant, department] => format!("tenants/{tenant}/departments/{department}"),
        _ => name.to_owned(),
    }
}

fn unknown(folder: &StoppedFolder, name: &str) -> Result<SetAsideError, SetAsideError> {
    let set_aside: Vec<String> = folder.set_aside()?.into_iter().map(|mark| mark.department).collect();
    let next = match set_aside.is_empty() {
        true => "no department is set aside".to_owned(),
        false => format!("these are set aside: {}", set_aside.join(", ")),
    };
    Ok(SetAsideError::refused(format!("there is no department {name}"), next))
}

fn broken(name: &str, problems: Vec<String>) -> SetAsideError {
    SetAsideError::refused(
        format!("the rows of {name} do not fit together:\n  {}", some(problems).join("\n  ")),
        "report it with the server's log, or restore a backup; with --force it is opened all the same, and its next \
         command or timer may halt its shard again, for all departments on it",
    )
}

fn some(mut problems: Vec<String>) -> Vec<String> {
    if problems.len() > MAX_SHOWN_PROBLEMS {
        let more = problems.len() - MAX_SHOWN_PROBLEMS;
        problems.truncate(MAX_SHOWN_PROBLEMS);
        problems.push(format!("and {more} more"));
    }
    problems
}
