//! The queue that batches are published to, with the publisher's right to it.

use std::sync::Arc;

use crate::{
    account::RetainedRequests,
    fair_gate::ConnectionKey,
    identity::ConnIdentity,
    policy::{Admission, Asks, Permit, methods},
    quota::TenantQuota,
    rpc::{
        context::{Context, FoundQueue, queue_name},
        request::connection_key,
        wire::status::ApiError,
    },
};

/// A queue that a caller publishes to.
pub(crate) struct PublishTarget {
    pub(crate) permit: Permit<methods::Publishing>,
    pub(crate) queue: FoundQueue,
    pub(crate) quota: Arc<TenantQuota>,
    pub(crate) connection: ConnectionKey,
    pub(crate) retained: RetainedRequests,
}

impl PublishTarget {
    pub(crate) async fn open<M: Asks<methods::Publishing>>(
        context: &Context,
        admission: &Admission<M>,
        connection: &Arc<ConnIdentity>,
        retained: RetainedRequests,
        name: &str,
    ) -> Result<Self, ApiError> {
        let permit = admission.permit(&queue_name("queue", name)?)?;
        let queue = context.queue(permit.queue()).await?;
        let quota = Arc::clone(context.quota(&permit.queue().tenant)?);
        Ok(Self { permit, queue, quota, connection: connection_key(connection), retained })
    }

    /// This target with a fresh permit.
    pub(crate) fn with(&self, permit: Permit<methods::Publishing>) -> Self {
        let Self { queue, quota, connection, retained, .. } = self;
        let (queue, quota, retained) = (queue.clone(), Arc::clone(quota), retained.clone());
        Self { permit, queue, quota, connection: *connection, retained }
    }

    /// The maximum of a payload's bytes: the queue's limit or the tenant's, whichever is lower.
    pub(crate) fn max_message_bytes(&self) -> u32 {
        self.queue.view.settings.max_message_bytes.min(self.quota.max_message_bytes())
    }
}
