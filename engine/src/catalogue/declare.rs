//! Declares the whole state. Tenants and departments that are not named are closed, never deleted; when they are
//! named again they have their old ids.

use std::collections::BTreeSet;

use super::CatalogueMachine;
use crate::{
    halt::Halt,
    ids::{DepartmentId, TenantId},
    keys::{CatalogueDepartmentKey, TenantKey},
    overlay::Overlay,
    schema::{CatalogueDepartmentRow, Declare, TenantRow},
};

/// The changes of a declaration.
#[derive(Default)]
pub(super) struct Changed {
    pub(super) any: bool,
    pub(super) departments: Vec<DepartmentId>,
}

pub(super) fn apply(
    machine: &mut CatalogueMachine,
    rows: &mut Overlay<'_>,
    declared: Declare,
) -> Result<Changed, Halt> {
    let mut changed = Changed::default();
    let mut named = (BTreeSet::new(), BTreeSet::new());
    for tenant in declared.tenants {
        if tenant.name.is_empty() || tenant.departments.iter().any(String::is_empty) {
            return Err(Halt::Malformed("a tenant or department without a name"));
        }
        let id = open_tenant(machine, rows, &tenant.name, &mut changed);
        named.0.insert(tenant.name);
        for department in tenant.departments {
            open_department(machine, rows, id, &department, &mut changed);
            named.1.insert((id, department));
        }
    }
    close_others(machine, rows, &named.0, &named.1, &mut changed);
    Ok(changed)
}

fn open_tenant(
    machine: &mut CatalogueMachine,
    rows: &mut Overlay<'_>,
    name: &str,
    changed: &mut Changed,
) -> u32 {
    let id = match machine.tenants.get(name) {
        Some(row) if !row.closed => return row.id,
        Some(row) => row.id,
        None => {
            machine.row.next_tenant = machine.row.next_tenant.max(1) + 1;
            machine.row.next_tenant - 1
        }
    };
    changed.any = true;
    put_tenant(machine, rows, name, TenantRow { id, closed: false });
    id
}

fn open_department(
    machine: &mut CatalogueMachine,
    rows: &mut Overlay<'_>,
    tenant: u32,
    name: &str,
    changed: &mut Changed,
) {
    let row = match machine.departments.get(&(tenant, name.to_owned())) {
        Some(row) if !row.closed => return,
        Some(row) => CatalogueDepartmentRow { closed: false, ..*row },
        None => {
            machine.row.next_department = machine.row.next_department.max(1) + 1;
            let (id, shard) = (machine.row.next_department - 1, emptiest_shard(machine));
            CatalogueDepartmentRow { id, tenant, shard, ..CatalogueDepartmentRow::default() }
        }
    };
    put_department(machine, rows, tenant, name, row, changed);
}

fn close_others(
    machine: &mut CatalogueMachine,
    rows: &mut Overlay<'_>,
    tenants: &BTreeSet<String>,
    departments: &BTreeSet<(u32, String)>,
    changed: &mut Changed,
) {
    let undeclared = |(name, row): (&String, &TenantRow)| {
        (!row.closed && !tenants.contains(name)).then(|| (name.clone(), *row))
    };
    let closing: Vec<_> = machine.tenants.iter().filter_map(undeclared).collect();
    for (name, row) in closing {
        changed.any = true;
        put_tenant(machine, rows, &name, TenantRow { closed: true, ..row });
    }
    let undeclared = |(key, row): (&(u32, String), &CatalogueDepartmentRow)| {
        (!row.closed && !departments.contains(key)).then(|| (key.clone(), *row))
    };
    let closing: Vec<_> = machine.departments.iter().filter_map(undeclared).collect();
    for ((tenant, name), row) in closing {
        put_department(machine, rows, tenant, &name, CatalogueDepartmentRow { closed: true, ..row }, changed);
    }
}

/// The shard with the fewest departments, and the lowest of several. Closed ones count, since their data is kept.
fn emptiest_shard(machine: &CatalogueMachine) -> u32 {
    let mut loads = vec![0u32; machine.shards.into()];
    for row in machine.departments.values() {
        if let Some(load) = loads.get_mut(row.shard as usize) {
            *load += 1;
        }
    }
    (0..).zip(loads).min_by_key(|(shard, load)| (*load, *shard)).map_or(0, |(shard, _)| shard)
}

fn put_tenant(machine: &mut CatalogueMachine, rows: &mut Overlay<'_>, name: &str, row: TenantRow) {
    rows.put(&TenantKey { name: name.into() }, &row);
    machine.tenants.insert(name.into(), row);
}

fn put_department(
    machine: &mut CatalogueMachine,
    rows: &mut Overlay<'_>,
    tenant: u32,
    name: &str,
    row: CatalogueDepartmentRow,
    changed: &mut Changed,
) {
    let row = CatalogueDepartmentRow { changed_at_index: machine.row.applied_index, ..row };
    changed.any = true;
    changed.departments.push(DepartmentId(row.id));
    rows.put(&CatalogueDepartmentKey { tenant: TenantId(tenant), name: name.into() }, &row);
    machine.departments.insert((tenant, name.into()), row);
}
