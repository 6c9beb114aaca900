//! Brings the configured tenants and departments to the catalogue, the shards and the quota.

use std::sync::Arc;

use posthouse_engine::{
    catalogue::DepartmentView,
    machine::ShardMachine,
    outcome::Outcome,
    schema::{Command, ConfigureDepartment, Declare, DeclaredTenant},
};
use tokio::{sync::oneshot, task::JoinHandle};
use tracing::warn;

use super::ServeError;
use crate::{
    catalogue::Catalogue,
    config::{Config, Tenant},
    limits,
    observe::Observer,
    quota::{Quota, Usages},
    shard::{ShardError, Shards},
};

/// Declares tenants and departments, and sends each shard its own. Unchanged ones are not written again, so that a
/// server starts on a full disk. The returned task sends the departments for which the disk had no space.
pub(super) async fn declare(
    config: &Config,
    catalogue: &Catalogue,
    shards: &Shards,
    observer: &Observer,
) -> Result<JoinHandle<()>, ServeError> {
    let tenant = |tenant: &Tenant| DeclaredTenant {
        name: tenant.name.to_string(),
        departments: tenant.departments.iter().map(ToString::to_string).collect(),
    };
    let declared: Vec<_> = config.tenants.iter().map(tenant).collect();
    if !catalogue.directory().is_as_declared(&declared) {
        catalogue.declare(Declare { tenants: declared }).await?;
    }
    let directory = catalogue.directory();
    let configuring: Vec<_> =
        directory.departments().map(|department| (department, configure(shards, department))).collect();
    let mut untold = Vec::new();
    for (department, configured) in configuring {
        match configured.await.unwrap_or(Err(ShardError::Stopping)) {
            // A halted shard says so to its callers, and was logged; the other departments are served.
            Ok(Outcome::ConfigureDepartment(_)) | Err(ShardError::Halted(_)) => {}
            Err(ShardError::DiskFull | ShardError::Overloaded) => untold.push(department.clone()),
            Err(why) => return Err(why.into()),
            Ok(_) => {
                return Err(ServeError::State("a configuration was answered by another outcome".to_owned()));
            }
        }
    }
    count_set_aside(catalogue, shards, observer).await;
    Ok(tokio::spawn(configure_again(shards.clone(), untold)))
}

fn configure(shards: &Shards, department: &DepartmentView) -> oneshot::Receiver<Result<Outcome, ShardError>> {
    let configure = ConfigureDepartment {
        department: department.id.0,
        catalogue_index: department.changed_at_index,
        tenant: department.tenant.0,
        closed: department.closed,
    };
    shards.propose(department.shard, Command::ConfigureDepartment(configure))
}

/// Sends departments to their shards until each is confirmed. Most of them are unchanged.
async fn configure_again(shards: Shards, mut untold: Vec<DepartmentView>) {
    if !untold.is_empty() {
        warn!(
            departments = untold.len(),
            "the disk has no room for the configuration of departments; trying again"
        );
    }
    while !untold.is_empty() {
        tokio::time::sleep(limits::CONFIGURE_AGAIN_INTERVAL).await;
        let mut still = Vec::new();
        for department in untold {
            let configured = configure(&shards, &department).await.unwrap_or(Err(ShardError::Stopping));
            if matches!(configured, Err(ShardError::DiskFull | ShardError::Overloaded)) {
                still.push(department);
            }
        }
        untold = still;
    }
}

/// Counts the departments that are set aside, and logs their names.
async fn count_set_aside(catalogue: &Catalogue, shards: &Shards, observer: &Observer) {
    let (directory, mut count) = (catalogue.directory(), 0);
    for department in directory.departments() {
        let id = department.id;
        let read = shards.query(department.shard, move |_, kv| ShardMachine::set_aside(kv, id));
        // Of a halted shard nothing is served anyway.
        let Ok(Ok(Some(mark))) = read.await else { continue };
        count += 1;
        let (tenant, name) = directory.names(id).unwrap_or_default();
        warn!(
            department = format!("tenants/{tenant}/departments/{name}"),
            skipped_entry = mark.index,
            shard = department.shard.0,
            by = mark.by,
            reason = mark.why,
            "a department is set aside: nothing of it is read or changed until `posthouse store reopen`"
        );
    }
    observer.metrics.shard.set_aside.set(i64::try_from(count).unwrap_or(i64::MAX));
    observer.readiness.set_aside(count);
}

/// The quota of each tenant, with what its departments store already.
pub(super) async fn quota(
    config: &Config,
    catalogue: &Catalogue,
    shards: &Shards,
    usages: &Arc<Usages>,
) -> Quota {
    let directory = catalogue.directory();
    let mut tenants = Vec::new();
    for tenant in &config.tenants {
        let names = tenant.departments.iter();
        let found = names.filter_map(|name| directory.department(tenant.name.as_str(), name.as_str()));
        let mut departments = Vec::new();
        for department in found {
            departments.push(department.id);
            let (id, usages) = (department.id, Arc::clone(usages));
            // On the worker, so that nothing newer is overwritten.
            let read = shards.query(department.shard, move |machine, kv| {
                machine.department_usage(kv, id).map(|usage| usages.set(id, usage.unwrap_or_default()))
            });
            // A halted shard accepts no publishes, so what it holds does not matter.
            if let Ok(Err(why)) = read.await {
                warn!(%why, "what a department holds cannot be read; it counts as empty until it changes");
            }
        }
        tenants.push((tenant.name.clone(), tenant.caps, departments));
    }
    Quota::new(tenants, usages)
}
