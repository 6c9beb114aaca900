//! The catalogue on this node: which tenants and departments there are, and on which shard.
//!
//! It is a second deterministic machine with a log of its own; one thread applies it, and readers see a snapshot.

use std::{
    collections::{BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use arc_swap::ArcSwap;
use bytes::{Buf, Bytes};
use posthouse_engine::{
    catalogue::{CatalogueMachine, CatalogueView, DepartmentView},
    ids::DepartmentId,
    kv::{Kv, Writes},
    limits::MACHINE_VERSION,
    schema::{CatalogueBatch, CatalogueRecord, Declare, DeclaredTenant, catalogue_record},
};
use prost::Message as _;
use tokio::sync::oneshot;
use tracing::error;

use crate::{
    clock::Clock,
    log::{Entry, GroupId, Log, ProposeError},
    shard::proposal_prefix,
    store::Store,
};

/// Why the catalogue refused a change.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the catalogue took no change: {0}")]
pub struct CatalogueError(String);

/// What the log reports to the catalogue.
pub(crate) enum FromLog {
    /// Synced entries, in order.
    Committed(Vec<Entry>),
    /// The log refused a proposal after it was accepted.
    Refused(u64, ProposeError),
    /// The server has stopped.
    Stop,
}

/// The shard of each department, at one index of the catalogue.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    by_name: HashMap<String, HashMap<String, DepartmentView>>,
    /// Tenant and department.
    names: HashMap<DepartmentId, (String, String)>,
    open_tenants: BTreeSet<String>,
}

impl Directory {
    fn of(view: CatalogueView) -> Self {
        let open = view.tenants.iter().filter(|tenant| !tenant.closed);
        let open_tenants = open.map(|tenant| tenant.name.clone()).collect();
        let tenants: HashMap<_, _> =
            view.tenants.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
        let mut by_name: HashMap<String, HashMap<String, DepartmentView>> = HashMap::new();
        let mut names = HashMap::new();
        for department in view.departments {
            if let Some(tenant) = tenants.get(&department.tenant) {
                names.insert(department.id, (tenant.clone(), department.name.clone()));
                by_name.entry(tenant.clone()).or_default().insert(department.name.clone(), department);
            }
        }
        Self { by_name, names, open_tenants }
    }

    /// The department of this name, open or closed.
    pub(crate) fn department(&self, tenant: &str, department: &str) -> Option<&DepartmentView> {
        self.by_name.get(tenant)?.get(department)
    }

    /// The tenant's name and its own of the department of this id, open or closed.
    pub(crate) fn names(&self, id: DepartmentId) -> Option<(&str, &str)> {
        self.names.get(&id).map(|(tenant, department)| (tenant.as_str(), department.as_str()))
    }

    /// Whether to declare these would change nothing.
    pub(crate) fn is_as_declared(&self, declared: &[DeclaredTenant]) -> bool {
        let mut wanted = BTreeSet::new();
        for tenant in declared {
            wanted.extend(tenant.departments.iter().map(|name| (tenant.name.clone(), name.clone())));
        }
        let tenants: BTreeSet<String> = declared.iter().map(|tenant| tenant.name.clone()).collect();
        let open = self.by_name.iter().flat_map(|(tenant, departments)| {
            let open = departments.values().filter(|department| !department.closed);
            open.map(|department| (tenant.clone(), department.name.clone()))
        });
        tenants == self.open_tenants && wanted == open.collect()
    }

    /// All of them.
    pub(crate) fn departments(&self) -> impl Iterator<Item = &DepartmentView> {
        self.by_name.values().flat_map(HashMap::values)
    }
}

/// The way to the catalogue.
pub(crate) struct Catalogue {
    directory: ArcSwap<Directory>,
    applied: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<(), CatalogueError>>>>,
    log: Arc<dyn Log>,
    clock: Arc<Clock>,
}

impl Catalogue {
    /// Starts the thread that applies what `entries` brings.
    pub(crate) fn start(
        mut machine: CatalogueMachine,
        events: mpsc::Receiver<FromLog>,
        store: Arc<Store>,
        log: Arc<dyn Log>,
        clock: Arc<Clock>,
    ) -> std::io::Result<(Arc<Self>, thread::JoinHandle<()>)> {
        let directory = ArcSwap::from_pointee(Directory::of(machine.view()));
        let catalogue = Arc::new(Self {
            directory,
            applied: AtomicU64::new(machine.applied_index()),
            waiting: Mutex::default(),
            log,
            clock,
        });
        let applied = Arc::clone(&catalogue);
        let run = move || {
            for event in events {
                match event {
                    FromLog::Stop => return,
                    FromLog::Refused(id, why) => applied.answer(id, Err(CatalogueError(why.to_string()))),
                    FromLog::Committed(entries) => {
                        entries.into_iter().for_each(|entry| applied.committed(&mut machine, &store, entry));
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("catalogue".to_owned()).spawn(run)?;
        Ok((catalogue, thread))
    }

    /// The tenants and departments of this moment.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// How far its log has been applied.
    pub(crate) fn applied_index(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Declares the whole of them.
    pub(crate) async fn declare(&self, declare: Declare) -> Result<(), CatalogueError> {
        let proposal_id = rand::random();
        let batch = CatalogueBatch {
            machine_version: MACHINE_VERSION,
            now_ms: self.clock.now_ms(),
            commands: vec![CatalogueRecord { command: Some(catalogue_record::Command::Declare(declare)) }],
            proposal_id,
        };
        let mut data = proposal_id.to_be_bytes().to_vec();
        batch.encode_raw(&mut data);
        let (reply, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(proposal_id, reply);
        self.log.propose(GroupId::CATALOGUE, data).map_err(|why| CatalogueError(why.to_string()))?;
        answer.await.map_err(|_| CatalogueError("the server is stopping".to_owned()))?
    }

    fn committed(&self, machine: &mut CatalogueMachine, store: &Store, entry: Entry) {
        let id = proposal_prefix(&entry.data);
        // A panic must not leave the one who declares waiting for ever.
        let applied = catch_unwind(AssertUnwindSafe(|| apply(machine, store, entry.index, entry.data)));
        let result = applied.unwrap_or_else(|_| {
            Err(CatalogueError("a check of its state failed (see the log for the panic)".to_owned()))
        });
        match &result {
            Ok(()) => {
                self.directory.store(Arc::new(Directory::of(machine.view())));
                self.applied.store(machine.applied_index(), Ordering::Release);
            }
            Err(why) => error!(%why, "the catalogue is halted: tenants and departments stay as they are"),
        }
        self.answer(id, result);
    }

    fn answer(&self, id: u64, result: Result<(), CatalogueError>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(caller) = waiting {
            // The caller may have left.
            drop(caller.send(result));
        }
    }
}

/// Applies one entry of the catalogue's log and writes its rows.
pub(crate) fn apply(
    machine: &mut CatalogueMachine,
    store: &Store,
    index: u64,
    data: Bytes,
) -> Result<(), CatalogueError> {
    let writes = applied(machine, store, index, data)?;
    store.write(&writes).map_err(|why| CatalogueError(why.to_string()))
}

/// Applies one entry of the catalogue's log; the rows that are to be written.
pub(crate) fn applied(
    machine: &mut CatalogueMachine,
    kv: &dyn Kv,
    index: u64,
    mut data: Bytes,
) -> Result<Writes, CatalogueError> {
    data.advance(size_of::<u64>().min(data.len()));
    let batch = CatalogueBatch::decode(data).map_err(|why| CatalogueError(why.to_string()))?;
    let applied = machine.apply(kv, index, batch).map_err(|why| CatalogueError(why.to_string()))?;
    Ok(applied.writes)
}
