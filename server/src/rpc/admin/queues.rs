//! The `Queues` service.

use std::sync::Arc;

use posthouse_engine::ids::{DEFAULT_SUBSCRIPTION, SubscriptionRef};
use posthouse_proto::v1::{
    CreateQueueRequest, DeleteQueueRequest, GetQueueRequest, ListQueuesRequest, ListQueuesResponse,
    PurgeQueueRequest, PurgeQueueResponse, Queue, UpdateQueueRequest, queues_server::Queues,
};
use tonic::{Request, Response, Status};

use crate::{
    names::DepartmentResource,
    policy::{Permit, methods},
    rpc::{
        admin::{list_queues, manage_call::ManageCall},
        context::{Context, queue_name},
        layers::call::Call,
        request::admission,
        wire::{convert, status::ApiError},
    },
};

/// The `Queues` service.
pub(crate) struct QueuesService {
    pub(crate) context: Arc<Context>,
}

impl QueuesService {
    async fn get(&self, permit: &Permit<methods::Describing>) -> Result<Queue, ApiError> {
        let found = self.context.queue(permit.queue()).await?;
        let at = SubscriptionRef { queue: found.at, subscription: DEFAULT_SUBSCRIPTION };
        let stats =
            self.context.shards.query(found.department.origin(), move |m, kv| m.stats(kv, at)).await??;
        let mut queue = convert::queue(permit.queue(), &found.view);
        queue.stats = Some(convert::stats(&stats.unwrap_or_default(), self.context.clock.now()));
        Ok(queue)
    }
}

#[tonic::async_trait]
impl Queues for QueuesService {
    async fn create_queue(&self, request: Request<CreateQueueRequest>) -> Result<Response<Queue>, Status> {
        let name = request.get_ref().queue.as_ref().map_or("", |q| &q.name);
        let call = ManageCall::<methods::CreateQueue>::of(&request, "queue.name", name)?;
        Ok(Response::new(self.create(&call, request.into_inner()).await?))
    }

    async fn get_queue(&self, request: Request<GetQueueRequest>) -> Result<Response<Queue>, Status> {
        let admission = admission::<methods::GetQueue, _>(&request)?;
        Call::record_resource(&request, &request.get_ref().name);
        let name = queue_name("name", &request.get_ref().name)?;
        let permit = admission.permit(&name).map_err(ApiError::from)?;
        Ok(Response::new(self.get(&permit).await?))
    }

    async fn list_queues(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        let admission = admission::<methods::ListQueues, _>(&request)?;
        Call::record_resource(&request, &request.get_ref().parent);
        let ListQueuesRequest { parent, page_size, page_token } = request.into_inner();
        let parent = parent.parse::<DepartmentResource>().map_err(ApiError::from)?;
        let shown = admission.filter::<methods::Listing>(&parent).map_err(ApiError::from)?;
        let department = self.context.department(&parent)?;
        let size = list_queues::page_size(page_size)?;
        let after = list_queues::page_start(&page_token)?;
        Ok(Response::new(list_queues::page(&self.context, &shown, department, after, size).await?))
    }

    async fn update_queue(&self, request: Request<UpdateQueueRequest>) -> Result<Response<Queue>, Status> {
        let name = request.get_ref().queue.as_ref().map_or("", |q| &q.name);
        let call = ManageCall::<methods::UpdateQueue>::of(&request, "queue.name", name)?;
        Ok(Response::new(self.update(&call, request.into_inner()).await?))
    }

    async fn delete_queue(&self, request: Request<DeleteQueueRequest>) -> Result<Response<()>, Status> {
        let call = ManageCall::<methods::DeleteQueue>::of(&request, "name", &request.get_ref().name)?;
        Ok(Response::new(self.delete(&call, request.into_inner()).await?))
    }

    async fn purge_queue(
        &self,
        request: Request<PurgeQueueRequest>,
    ) -> Result<Response<PurgeQueueResponse>, Status> {
        let call = ManageCall::<methods::PurgeQueue>::of(&request, "name", &request.get_ref().name)?;
        Ok(Response::new(self.purge(&call, request.into_inner()).await?))
    }
}
