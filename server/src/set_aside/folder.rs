//! The folder of a stopped server: opened for reading first, then for writing.

use std::{collections::BTreeMap, path::Path};

use posthouse_engine::{
    catalogue::{CatalogueMachine, DepartmentView},
    halt::Halt,
    ids::{DepartmentId, ShardId},
    kv::Write,
    layered::Layered,
    machine::ShardMachine,
    schema::SetAsideRow,
};
use posthouse_text::causes;

use super::{SetAside, SetAsideError, rehearse::Rehearsal};
use crate::{
    catalogue,
    log::{GroupId, LocalLog, OpenLog, ReplayError},
    shard::hex,
    store::{DataDir, Store, StoreOptions},
};

/// A folder that is only read.
pub(super) struct StoppedFolder {
    pub(super) data: DataDir,
    pub(super) log: OpenLog,
    pub(super) store: Store,
    departments: Vec<(String, DepartmentView)>,
}

impl StoppedFolder {
    /// Takes the folder, so that no server starts on it meanwhile.
    pub(super) fn open(dir: &Path) -> Result<Self, SetAsideError> {
        let data = DataDir::inspect(dir)?;
        let log = LocalLog::inspect(&data.log())?;
        let store = Store::inspect(&data.store(), &options())?;
        check_history(&data, &store, &log)?;
        let departments = departments(&data, &store, &log)?;
        Ok(Self { data, log, store, departments })
    }

    /// A shard as the store has it.
    pub(super) fn shard(&self, shard: ShardId) -> Result<Rehearsal<'_>, SetAsideError> {
        Rehearsal::begin(shard, &self.store).map_err(|halt| unreadable(&halt))
    }

    /// The last entry of a shard's log.
    pub(super) fn last(&self, shard: ShardId) -> u64 {
        self.log.groups().get(&GroupId(shard.0)).map_or(0, |(_, last)| *last)
    }

    /// The department of this id, `tenants/{tenant}/departments/{department}`.
    pub(super) fn name(&self, id: DepartmentId) -> String {
        let found = self.departments.iter().find(|(_, department)| department.id == id);
        found.map_or_else(
            || format!("department {id}, which the catalogue does not know"),
            |(name, _)| name.clone(),
        )
    }

    /// The department of this name.
    pub(super) fn department(&self, name: &str) -> Option<&DepartmentView> {
        self.departments.iter().find(|(known, _)| known == name).map(|(_, department)| department)
    }

    /// The departments that are set aside, as the store has them.
    pub(super) fn set_aside(&self) -> Result<Vec<SetAside>, SetAsideError> {
        let mut found = Vec::new();
        for (name, department) in &self.departments {
            let mark =
                ShardMachine::set_aside(&self.store, department.id).map_err(|halt| unreadable(&halt))?;
            found.extend(mark.map(|mark| described(name, department.shard, mark)));
        }
        Ok(found)
    }

    /// Opens the folder for writing, brings the shard's rows up to an entry of its log, and makes the writes that
    /// follow from there: all of them, or none. They are on the disk when this returns.
    pub(super) fn change(
        self,
        shard: ShardId,
        to: u64,
        writes: impl FnOnce(&ShardMachine, &Store) -> Result<Vec<Write>, Halt>,
    ) -> Result<(), SetAsideError> {
        let Self { mut data, log, store, .. } = self;
        drop(store);
        data.claim()?;
        let store = Store::open(&data.store(), &options())?;
        let mut machine = ShardMachine::hydrate(shard, &store).map_err(|halt| unreadable(&halt))?;
        let replayed = log.replay(GroupId(shard.0), machine.applied_index(), &mut |entry| {
            if entry.index > to {
                return Err(None);
            }
            let batch = crate::shard::decode_batch(entry.data).map_err(|why| Some(why.to_string()))?;
            let applied = machine.apply(&store, entry.index, batch).map_err(|halt| Some(halt.to_string()))?;
            store.write(&applied.writes).map_err(|why| Some(causes(&why).to_string()))
        });
        match replayed {
            Ok(()) | Err(ReplayError::Apply(None)) => {}
            // It was rehearsed: the disk has failed since.
            Err(ReplayError::Apply(Some(why))) => return Err(SetAsideError::Rows(why)),
            Err(ReplayError::Read(why)) => return Err(SetAsideError::Log(why.into())),
        }
        let writes = writes(&machine, &store).map_err(|halt| unreadable(&halt))?;
        store.write(&writes).and_then(|()| store.flush()).map_err(SetAsideError::Write)
    }
}

/// A mark, for people.
pub(super) fn described(department: &str, shard: ShardId, mark: SetAsideRow) -> SetAside {
    SetAside {
        department: department.to_owned(),
        shard: shard.0,
        index: mark.index,
        digest: hex(&mark.digest),
        at_ms: mark.at_ms,
        by: mark.by,
        reason: mark.why,
    }
}

pub(super) fn unreadable(halt: &Halt) -> SetAsideError {
    SetAsideError::Rows(halt.to_string())
}

fn options() -> StoreOptions {
    StoreOptions { block_cache_bytes: 32 << 20, ..StoreOptions::default() }
}

/// Store and log are of one history, as a start demands it.
fn check_history(data: &DataDir, store: &Store, log: &OpenLog) -> Result<(), SetAsideError> {
    let mut applied = BTreeMap::new();
    for shard in (0..data.shards()).map(ShardId) {
        let machine = ShardMachine::hydrate(shard, store).map_err(|halt| unreadable(&halt))?;
        applied.insert(GroupId(shard.0), machine.applied_index());
    }
    let catalogue = CatalogueMachine::hydrate(data.shards(), store).map_err(|halt| unreadable(&halt))?;
    applied.insert(GroupId::CATALOGUE, catalogue.applied_index());
    Ok(log.check_applied(&applied)?)
}

/// All departments that there are, with what is still in the catalogue's log only.
fn departments(
    data: &DataDir,
    store: &Store,
    log: &OpenLog,
) -> Result<Vec<(String, DepartmentView)>, SetAsideError> {
    let mut rows = Layered::over(store);
    let mut machine = CatalogueMachine::hydrate(data.shards(), &rows).map_err(|halt| unreadable(&halt))?;
    let replayed = log.replay(GroupId::CATALOGUE, machine.applied_index(), &mut |entry| {
        let applied = catalogue::applied(&mut machine, &rows, entry.index, entry.data)?;
        rows.write(applied);
        Ok(())
    });
    match replayed {
        Ok(()) => {}
        Err(ReplayError::Read(why)) => return Err(SetAsideError::Log(why.into())),
        Err(ReplayError::Apply(why)) => {
            let why: catalogue::CatalogueError = why;
            return Err(SetAsideError::Rows(why.to_string()));
        }
    }
    let view = machine.view();
    let named = view.departments.into_iter().filter_map(|department| {
        let tenant = view.tenants.iter().find(|tenant| tenant.id == department.tenant)?;
        Some((format!("tenants/{}/departments/{}", tenant.name, department.name), department))
    });
    Ok(named.collect())
}
