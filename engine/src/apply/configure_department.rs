//! Takes over what the catalogue says of a department. A version older than the last is ignored.

use crate::{
    effect::Effect,
    halt::{Halt, ensure},
    ids::DepartmentId,
    machine::Transaction,
    schema::{ConfigureDepartment, DepartmentRow},
};

/// Returns whether anything changed.
pub(super) fn apply(txn: &mut Transaction<'_>, command: &ConfigureDepartment) -> Result<bool, Halt> {
    let id = DepartmentId(command.department);
    let known = txn.department(id)?.cloned();
    let changed = match &known {
        Some(row) if command.catalogue_index <= row.catalogue_index => return Ok(false),
        // This command may be the one that halted the shard.
        Some(row) if row.set_aside && row.tenant != command.tenant => return Ok(false),
        Some(row) => {
            ensure!(row.tenant == command.tenant, "department {id} moved to tenant {}", command.tenant);
            row.closed != command.closed
        }
        None => true,
    };
    let row = known.unwrap_or_else(|| DepartmentRow {
        tenant: command.tenant,
        next_queue: 1,
        shard: txn.shard.0.into(),
        ..DepartmentRow::default()
    });
    let row = DepartmentRow { catalogue_index: command.catalogue_index, closed: command.closed, ..row };
    txn.put_department(id, row);
    if changed && command.closed {
        txn.effects.push(Effect::DepartmentClosed(id));
    }
    Ok(changed)
}
