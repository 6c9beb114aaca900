//! The rows of the catalogue and of each shard.

use std::collections::BTreeMap;

use posthouse_engine::{
    catalogue::CatalogueMachine, check::check, ids::ShardId, kv::Family, machine::ShardMachine,
};

use super::report::{Part, Problem, StoreReport};
use crate::{
    log::{GroupId, OpenLog, ReplayError},
    shard::decode_batch,
    store::{DataDir, Store},
};

/// Problems of one shard that are told; more say the same.
const TOLD: usize = 20;

/// Rows as they were counted while their checksums were checked.
#[derive(Debug, Default)]
pub(super) struct Counts {
    all: u64,
    /// By department, whose id every key but those of timers and of the node begins with.
    departments: BTreeMap<u32, u64>,
}

impl Counts {
    pub(super) fn count(&mut self, family: Family, key: &[u8]) {
        self.all += 1;
        if let (Family::Body | Family::Entry | Family::State, Some(id)) = (family, key.first_chunk::<4>()) {
            *self.departments.entry(u32::from_be_bytes(*id)).or_default() += 1;
        }
    }

    pub(super) fn all(&self) -> u64 {
        self.all
    }

    fn of_shard(&self, shard: ShardId, catalogue: &CatalogueMachine) -> u64 {
        let departments = catalogue.view().departments;
        let own = departments.iter().filter(|department| department.shard == shard);
        own.filter_map(|department| self.departments.get(&department.id.0)).sum()
    }
}

/// Reads the catalogue; without it nothing says which department stands on which shard.
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
        let left = found.len().saturating_sub(TOLD);
        let told = found.into_iter().take(TOLD);
        whole.problems.extend(told.map(|what| Problem::fault(format!("shard {}: {what}", shard.0))));
        if left > 0 {
            whole.problems.push(Problem::fault(format!("shard {}: {left} more of the same sort", shard.0)));
        }
    }
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

/// What the store has applied lies within the log, and what it has not yet can be decoded.
pub(super) fn against_log(
    log: &OpenLog,
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
    let mut waiting = 0_u64;
    for shard in shards.keys() {
        let group = GroupId(shard.0);
        let after = applied.get(&group).copied().unwrap_or_default();
        let read = log.replay(group, after, &mut |entry| {
            waiting += 1;
            decode_batch(entry.data).map(drop).map_err(|why| (entry.index, why))
        });
        match read {
            Ok(()) => {}
            Err(ReplayError::Read(error)) => part.problems.push(Problem::advised(&error)),
            Err(ReplayError::Apply((index, why))) => part
                .problems
                .push(Problem::fault(format!("entry {index} of {group} cannot be decoded: {why}"))),
        }
    }
    part.seen = "the store lies within the log".to_owned();
    if waiting > 0 {
        part.notes.push(format!(
            "{waiting} batches are in the log only: the next start brings them into the store"
        ));
    }
    part
}
