use posthouse_proto::v1::{self, queues_server::Queues};
use tonic::{Code, Request, Response, Status};

use super::{Records, State, refusal};

#[tonic::async_trait]
impl Queues for State {
    async fn create_queue(
        &self,
        request: Request<v1::CreateQueueRequest>,
    ) -> Result<Response<v1::Queue>, Status> {
        self.admit(&request)?;
        let queue = request.into_inner().queue.unwrap();
        let mut records = self.records();
        if records.queues.iter().any(|it| it.name == queue.name) {
            return Err(refusal(Code::AlreadyExists, "QUEUE_ALREADY_EXISTS"));
        }
        records.queues.push(queue.clone());
        Ok(Response::new(queue))
    }

    async fn get_queue(&self, request: Request<v1::GetQueueRequest>) -> Result<Response<v1::Queue>, Status> {
        self.admit(&request)?;
        let mut records = self.records();
        let index = find(&records, &request.get_ref().name)?;
        let stats = v1::QueueStats { ready: 7, ..v1::QueueStats::default() };
        records.queues[index].stats = Some(stats);
        Ok(Response::new(records.queues[index].clone()))
    }

    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        self.admit(&request)?;
        if self.records().slow {
            assert!(request.metadata().contains_key("grpc-timeout"));
            std::future::pending::<()>().await;
        }
        let request = request.into_inner();
        let start: usize = request.page_token.parse().unwrap_or(0);
        let records = self.records();
        let of_parent: Vec<_> =
            records.queues.iter().filter(|queue| queue.name.starts_with(&request.parent)).collect();
        let queues: Vec<_> = of_parent.iter().skip(start).take(2).copied().cloned().collect();
        let end = start + queues.len();
        let next_page_token = if end < of_parent.len() { end.to_string() } else { String::new() };
        Ok(Response::new(v1::ListQueuesResponse { queues, next_page_token }))
    }

    async fn update_queue(
        &self,
        request: Request<v1::UpdateQueueRequest>,
    ) -> Result<Response<v1::Queue>, Status> {
        self.admit(&request)?;
        let request = request.into_inner();
        let (queue, mask) = (request.queue.unwrap(), request.update_mask.unwrap());
        let mut records = self.records();
        let index = find(&records, &queue.name)?;
        assert_eq!(mask.paths, ["default_subscription.max_attempts"]);
        records.queues[index].default_subscription.as_mut().unwrap().max_attempts =
            queue.default_subscription.unwrap().max_attempts;
        Ok(Response::new(records.queues[index].clone()))
    }

    async fn delete_queue(&self, request: Request<v1::DeleteQueueRequest>) -> Result<Response<()>, Status> {
        self.admit(&request)?;
        let mut records = self.records();
        let index = find(&records, &request.get_ref().name)?;
        records.queues.remove(index);
        Ok(Response::new(()))
    }

    async fn purge_queue(
        &self,
        request: Request<v1::PurgeQueueRequest>,
    ) -> Result<Response<v1::PurgeQueueResponse>, Status> {
        self.admit(&request)?;
        find(&self.records(), &request.get_ref().name)?;
        Ok(Response::new(v1::PurgeQueueResponse { purged: 3 }))
    }
}

fn find(records: &Records, name: &str) -> Result<usize, Status> {
    let position = records.queues.iter().position(|queue| queue.name == name);
    position.ok_or_else(|| refusal(Code::NotFound, "QUEUE_NOT_FOUND"))
}
