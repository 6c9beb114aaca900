//! The state that all handlers share, and the look-up of departments, queues and subscriptions by name.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use posthouse_engine::{
    halt::Halt,
    ids::{DEFAULT_SUBSCRIPTION_NAME, DepartmentId, QueueRef, ShardId, SubscriptionRef, TenantId},
    kv::Kv,
    machine::ShardMachine,
    outcome::QueueView,
    schema::Holder,
};
use posthouse_proto::v1::ErrorReason;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Code;

use crate::{
    bodies::BodyCache,
    catalogue::Catalogue,
    clock::Clock,
    disk_space::DiskGuard,
    dispatch::SessionKey,
    fair_gate::{FairGate, FairGateLimits},
    identity::Principal,
    names::{DepartmentResource, QueueResource, TenantName},
    observe::{Observer, RecordSlot},
    quota::{Quota, TenantQuota},
    rpc::wire::status::ApiError,
    shard::{Origin, Shards},
    store::Store,
};

/// The state that all handlers share.
pub(crate) struct Context {
    pub(crate) shards: Shards,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) store: Arc<Store>,
    pub(crate) bodies: Arc<BodyCache>,
    pub(crate) disk: Arc<DiskGuard>,
    pub(crate) quota: Quota,
    pub(crate) observer: Arc<Observer>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) drain: CancellationToken,
    /// The tasks of streams and of detached work. The server ends after them.
    pub(crate) streams: TaskTracker,
    pub(crate) fair_gate: Arc<FairGate>,
    next_session: AtomicU64,
}

/// A department that was found by its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Department {
    pub(crate) shard: ShardId,
    pub(crate) tenant: TenantId,
    pub(crate) id: DepartmentId,
}

impl Department {
    /// The shard that its events go to, and the tenant that they are counted for.
    pub(crate) fn origin(self) -> Origin {
        Origin { shard: self.shard, tenant: Some(self.tenant) }
    }
}

/// A queue that was found by its name.
#[derive(Debug, Clone)]
pub(crate) struct FoundQueue {
    pub(crate) department: Department,
    pub(crate) at: QueueRef,
    pub(crate) view: QueueView,
}

impl Context {
    #[allow(clippy::too_many_arguments, reason = "it is called once, and each is another module")]
    pub(crate) fn new(
        shards: Shards,
        catalogue: Arc<Catalogue>,
        store: Arc<Store>,
        bodies: Arc<BodyCache>,
        disk: Arc<DiskGuard>,
        quota: Quota,
        observer: Arc<Observer>,
        clock: Arc<Clock>,
        drain: CancellationToken,
    ) -> Self {
        Self {
            shards,
            catalogue,
            store,
            bodies,
            disk,
            quota,
            observer,
            clock,
            drain,
            streams: TaskTracker::new(),
            fair_gate: FairGate::new(FairGateLimits::default()),
            next_session: AtomicU64::new(1),
        }
    }

    pub(crate) fn session_key(&self) -> SessionKey {
        SessionKey(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// A slot for the access record of a batch that is about to be published; `None` where publishes are not recorded.
    /// A caller that has just `waited` in vain does not wait again.
    pub(crate) async fn publish_slot(&self, waited: bool) -> Result<Option<RecordSlot>, ApiError> {
        let access = &self.observer.access;
        if !access.keeps_messages() {
            return Ok(None);
        }
        let slot = if waited { access.reserve_now() } else { access.reserve().await };
        slot.map(Some).ok_or_else(ApiError::access_not_recorded)
    }

    /// The department of this name. It is called after authorisation, so the caller may know that there is none.
    pub(crate) fn department(&self, name: &DepartmentResource) -> Result<Department, ApiError> {
        let directory = self.catalogue.directory();
        let found = directory.department(name.tenant.as_str(), name.department.as_str());
        let found = found
            .filter(|d| !d.closed)
            .ok_or_else(|| ApiError::department_not_found(format_args!("department {name}")))?;
        Ok(Department { shard: found.shard, tenant: found.tenant, id: found.id })
    }

    /// The quota of a tenant. One that is not configured has none, which the error does not say to the caller.
    pub(crate) fn quota(&self, tenant: &TenantName) -> Result<&Arc<TenantQuota>, ApiError> {
        self.quota.tenant(tenant).ok_or_else(|| ApiError::fault("a tenant has no quota"))
    }

    /// The queue of this name.
    pub(crate) async fn queue(&self, name: &QueueResource) -> Result<FoundQueue, ApiError> {
        let department = self.department(&name.department_resource())?;
        let (id, queue) = (department.id, name.queue.as_str().to_owned());
        let found =
            self.shards.query(department.origin(), move |m, kv| m.queue_by_name(kv, id, &queue)).await??;
        let view = found.ok_or_else(|| queue_not_found(name))?;
        Ok(FoundQueue { department, at: QueueRef { department: id, queue: view.queue }, view })
    }

    /// The subscription of this name. An empty name is that of the default subscription.
    pub(crate) async fn subscription(
        &self,
        queue: &FoundQueue,
        resource: &QueueResource,
        name: &str,
    ) -> Result<SubscriptionRef, ApiError> {
        let (at, wanted) = (queue.at, subscription_name(name).to_owned());
        let read = move |m: &mut ShardMachine, kv: &dyn Kv| {
            let found = m.subscription_by_name(kv, at, &wanted)?;
            let deleted = found.is_none() && m.queue(kv, at)?.is_none();
            Ok::<_, Halt>((found, deleted))
        };
        let (found, deleted) = self.shards.query(queue.department.origin(), read).await??;
        if deleted {
            // The queue was deleted after it was found.
            return Err(ApiError::queue_deleted());
        }
        let subscription = found.ok_or_else(|| {
            let default = DEFAULT_SUBSCRIPTION_NAME;
            let text = format!("queue {resource} has no such subscription; leave it empty for {default:?}");
            ApiError::new(Code::NotFound, ErrorReason::SubscriptionNotFound, text)
        })?;
        Ok(SubscriptionRef { queue: at, subscription })
    }
}

/// Parses the name of a queue in a field of a request.
pub(crate) fn queue_name(field: &'static str, name: &str) -> Result<QueueResource, ApiError> {
    name.parse().map_err(|error| ApiError::name(field, &error))
}

/// The subscription name of a request. An empty one means the default subscription.
pub(crate) fn subscription_name(name: &str) -> &str {
    if name.is_empty() { DEFAULT_SUBSCRIPTION_NAME } else { name }
}

pub(crate) fn queue_not_found(name: &QueueResource) -> ApiError {
    ApiError::queue_not_found(format_args!("queue {name}"))
}

/// The holder of a lease in the engine's terms.
pub(crate) fn holder(department: Department, principal: &Principal, session_id: &[u8]) -> Holder {
    Holder {
        tenant: department.tenant.0,
        subject: principal.subject.clone(),
        session_id: bytes::Bytes::copy_from_slice(session_id),
    }
}

/// The wall clock's time, against which permits are checked.
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
