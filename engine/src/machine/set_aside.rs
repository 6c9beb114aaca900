//! Departments that are set aside. An operator sets a department aside, while no server runs, when a command of it
//! halts its shard. Its commands and queries are refused and its timers wait until it is opened again. The mark is a
//! row like others, so that replicas that have it agree.

use std::collections::BTreeSet;

use super::{ShardMachine, for_each_row};
use crate::{
    halt::{Halt, ensure},
    ids::DepartmentId,
    keys::{DepartmentKey, ParkedTimerKey, SetAsideKey, ShardKey, TimerKey},
    kv::{Kv, Writes},
    overlay::Overlay,
    schema::{Batch, DepartmentRow, SetAsideRow, ShardRow},
};

/// The departments that a batch's commands name.
#[must_use]
pub fn departments_of(batch: &Batch) -> BTreeSet<DepartmentId> {
    let commands = batch.commands.iter().filter_map(|record| record.command.as_ref());
    commands.filter_map(crate::apply::department_of).collect()
}

impl ShardMachine {
    /// The writes that skip `index`, the next entry of the log, and set a department of the shard aside for it.
    ///
    /// # Errors
    /// When the entry is not the next, or the shard knows no such department, or the store cannot be read. Nothing
    /// changes.
    pub fn skip(
        &self,
        kv: &dyn Kv,
        index: u64,
        department: DepartmentId,
        mark: &SetAsideRow,
    ) -> Result<Writes, Halt> {
        let applied = self.row.applied_index;
        if applied.checked_add(1) != Some(index) {
            return Err(Halt::IndexGap { applied, found: index });
        }
        let mut rows = Overlay::new(kv);
        let row = rows.row(&DepartmentKey { department })?;
        let row = row.filter(|row| row.shard == u32::from(self.shard.0));
        let Some(row) = row else {
            return Err(Halt::Invariant(format!("department {department} does not stand on this shard")));
        };
        ensure!(!row.set_aside, "department {department} is set aside already, and its commands are refused");
        rows.put(&DepartmentKey { department }, &DepartmentRow { set_aside: true, ..row });
        rows.put(&SetAsideKey { department }, mark);
        rows.put(&ShardKey { shard: self.shard }, &ShardRow { applied_index: index, ..self.row });
        Ok(rows.into_writes())
    }

    /// Why a department is set aside, if it is.
    ///
    /// # Errors
    /// When the store cannot be read or is damaged; the machine can be used further.
    pub fn set_aside(kv: &dyn Kv, department: DepartmentId) -> Result<Option<SetAsideRow>, Halt> {
        let rows = Overlay::new(kv);
        let row = rows.row(&DepartmentKey { department })?.unwrap_or_default();
        if !row.set_aside {
            return Ok(None);
        }
        Ok(Some(rows.row(&SetAsideKey { department })?.unwrap_or_default()))
    }

    /// The writes that open a department again; none if it is not set aside. Timers that were due meanwhile are due
    /// at once.
    ///
    /// # Errors
    /// When the store cannot be read or is damaged. Nothing changes.
    pub fn reopen(&self, kv: &dyn Kv, department: DepartmentId) -> Result<Writes, Halt> {
        let mut rows = Overlay::new(kv);
        let row = rows.row(&DepartmentKey { department })?.unwrap_or_default();
        if !row.set_aside {
            return Ok(Writes::new());
        }
        rows.put(&DepartmentKey { department }, &DepartmentRow { set_aside: false, ..row });
        rows.delete(&SetAsideKey { department });
        let (prefix, mut parked) = (ParkedTimerKey::all_of(department), Vec::<TimerKey>::new());
        for_each_row::<ParkedTimerKey>(&rows, &prefix, &prefix, |key, _| {
            parked.push(key.timer);
            Ok(())
        })?;
        let mut shard = self.row;
        for timer in parked {
            rows.put(&timer, &());
            // The search for due timers begins at this time.
            shard.fired_ms = shard.fired_ms.min(timer.due_ms);
            rows.delete(&ParkedTimerKey { department, timer });
        }
        rows.put(&ShardKey { shard: self.shard }, &shard);
        Ok(rows.into_writes())
    }
}
