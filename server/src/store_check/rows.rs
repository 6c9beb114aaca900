//! The rows of the catalogue and of each shard.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use posthouse_engine::{
    catalogue::CatalogueMachine,
    check::check,
    ids::{DepartmentId, ShardId},
    keys,
    kv::Family,
    machine::ShardMachine,
};

use super::report::{Part, Problem, StoreReport};
use crate::{
    log::{GroupId, OpenLog},
    observe::utc,
    set_aside::{Ended, Rehearsal},
    shard::{Blame, HaltedBy, hex},
    store::{DataDir, Store},
};

/// Problems of one shard that are shown.
const MAX_SHOWN: usize = 20;

/// Rows as they were counted while their checksums were checked.
#[derive(Debug, Default)]
pub(super) struct Counts {
    all: u64,
    /// By department: all rows but timers and those of the node.
    departments: BTreeMap<DepartmentId, u64>,
}

impl Counts {
    pub(super) fn count(&mut self, family: Family, key: &[u8]) {
        self.all += 1;
        if let Some(department) = keys::department_of(family, key) {
            *self.departments.entry(department).or_default() += 1;
        }
    }

    pub(super) fn all(&self) -> u64 {
        self.all
    }

    fn of_shard(&self, shard: ShardId, catalogue: &CatalogueMachine) -> u64 {
        let departments = catalogue.view().departments;
        let own = departments.iter().filter(|department| department.shard == shard);
        own.filter_map(|department| self.departments.get(&department.id)).sum()
    }
}

/// Reads the catalogue; only it says which department is on which shard.
pub(super) fn catalogue(data: &DataDir, store: &Store, report: &mut StoreReport) -> Option<CatalogueMachine> {
    match CatalogueMachine::hydrate(data.shards(), store) {
        Ok(machine) => {
            let view = machine.view();
            let seen = format!("tenants: {}, departments: {}", view.tenants.len(), view.departments.len());
            report.parts.push(Part::sound("catalogue", seen));
            Some(machine)
        }
        Err(halt) => {
            report.parts.push(Part::broken("catalogue", Problem::damage(halt.to_string())));
            report.parts.push(Part::skipped("shards", "the catalogue cannot be read"));
            None
        }
    }
}

/// Checks the rows of every shard against each other, and returns what each shard has applied.
pub(super) fn shards(
    data: &DataDir,
    store: &Store,
    catalogue: &CatalogueMachine,
    counts: &Counts,
    max_rows: u64,
    step: &mut dyn FnMut(&str),
    report: &mut StoreReport,
) -> BTreeMap<ShardId, u64> {
    let mut applied = BTreeMap::new();
    let mut whole = Part::sound("shards", String::new());
    let (mut checked, mut skipped) = (0_u64, Vec::new());
    for shard in (0..data.shards()).map(ShardId) {
        step(&format!("shard {}", shard.0));
        match ShardMachine::hydrate(shard, store) {
            Ok(machine) => {
                applied.insert(shard, machine.applied_index());
            }
            Err(halt) => whole.problems.push(Problem::fault(format!("shard {}: {halt}", shard.0))),
        }
        let rows = counts.of_shard(shard, catalogue);
        if rows > max_rows {
            skipped.push(format!("shard {} has {rows} rows", shard.0));
            continue;
        }
        checked += rows;
        let Err(found) = check(shard, store) else { continue };
        let left = found.len().saturating_sub(MAX_SHOWN);
        let shown = found.into_iter().take(MAX_SHOWN);
        whole.problems.extend(shown.map(|what| Problem::fault(format!("shard {}: {what}", shard.0))));
        if left > 0 {
            whole.problems.push(Problem::fault(format!("shard {}: {left} more of the same sort", shard.0)));
        }
    }
    list_set_aside(store, catalogue, &mut whole);
    whole.seen = format!("shards: {}, rows that agree: {checked}", data.shards());
    if !whole.problems.is_empty() {
        whole.seen = format!("shards: {}, rows: {checked}", data.shards());
    }
    if !skipped.is_empty() {
        whole.skipped = Some(format!(
            "{}, and {max_rows} may be checked in memory; give --max-rows, at about 100 bytes each",
            skipped.join(", ")
        ));
    }
    report.parts.push(whole);
    applied
}

/// Lists the departments that are set aside, and why.
fn list_set_aside(store: &Store, catalogue: &CatalogueMachine, part: &mut Part) {
    let view = catalogue.view();
    for department in &view.departments {
        let mark = match ShardMachine::set_aside(store, department.id) {
            Ok(None) => continue,
            Ok(Some(mark)) => mark,
            Err(halt) => return part.problems.push(Problem::fault(halt.to_string())),
        };
        let tenant = view.tenants.iter().find(|tenant| tenant.id == department.tenant);
        let tenant = tenant.map_or("", |tenant| &tenant.name);
        part.notices.push(format!(
            "tenants/{tenant}/departments/{} is set aside: entry {} of shard {}, digest {}, was skipped at {} by \
             {}: {}; `posthouse store reopen {tenant}/{}` opens it again",
            department.name,
            mark.index,
            department.shard.0,
            hex(&mark.digest),
            utc(UNIX_EPOCH + Duration::from_millis(mark.at_ms)),
            mark.by,
            mark.why,
            department.name,
        ));
    }
}

/// Checks that the store's applied entries are in the log, and that the others can be applied.
pub(super) fn against_log(
    dir: &Path,
    log: &OpenLog,
    store: &Store,
    catalogue: &CatalogueMachine,
    shards: &BTreeMap<ShardId, u64>,
) -> Part {
    let mut applied: BTreeMap<GroupId, u64> =
        shards.iter().map(|(shard, index)| (GroupId(shard.0), *index)).collect();
    applied.insert(GroupId::CATALOGUE, catalogue.applied_index());
    let mut part = Part::sound("store and log", String::new());
    if let Err(error) = log.check_applied(&applied) {
        part.problems.push(Problem::advised(&error));
        return part;
    }
    let (mut waiting, groups) = (0_u64, log.groups());
    for (shard, applied) in shards {
        let last = groups.get(&GroupId(shard.0)).map_or(0, |(_, last)| *last);
        waiting += last.saturating_sub(*applied);
        let ran = match Rehearsal::begin(*shard, store) {
            Ok(mut rehearsal) => rehearsal.run(log, last),
            Err(halt) => {
                part.problems.push(Problem::fault(format!("shard {}: {halt}", shard.0)));
                continue;
            }
        };
        match ran {
            Ok(Ended::Applied) => {}
            Ok(Ended::Halted(halting)) => part.problems.push(halted(dir, *shard, &halting.by)),
            Err(error) => part.problems.push(Problem::advised(&error)),
        }
    }
    part.seen = "the store lies within the log".to_owned();
    if waiting > 0 {
        part.notices.push(format!(
            "{waiting} batches are in the log only: the next start brings them into the store"
        ));
    }
    part
}

/// A shard that a start halts, and what can be done.
fn halted(dir: &Path, shard: ShardId, by: &HaltedBy) -> Problem {
    let (number, HaltedBy { index, stop, .. }) = (shard.0, by);
    let digest = hex(&by.digest);
    let what = format!("shard {number} halts at entry {index} of its log, digest {digest}: {stop}");
    let next = match stop.blame() {
        Blame::Entry => format!(
            "keep a copy of the data folder and report this; to go on without the entry, with the department that \
             it names set aside: posthouse store skip {number} {index} --digest {digest} --reason WHY --data-dir {}",
            dir.display()
        ),
        Blame::Program => "start the version that wrote the entry, or a newer one".to_owned(),
        Blame::Rows => return Problem::damage(what),
    };
    Problem { what, next }
}
