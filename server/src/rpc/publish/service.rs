//! The `Publisher` service.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, TryStreamExt as _};
use posthouse_proto::v1::{
    PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse, publisher_server::Publisher,
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    identity::TokenVerifier,
    policy::methods,
    rpc::{
        context::Context,
        detached::Detached,
        layers::{
            call::Call,
            intake::{RequestCharge, Requests},
        },
        publish::{
            batch::{gather, propose},
            stream::Publishing,
            target::PublishTarget,
            telemetry,
        },
        request::{self, admission},
        stream::task::StreamTask,
        wire::convert,
    },
};

/// The `Publisher` service.
pub(crate) struct PublisherService {
    pub(crate) context: Arc<Context>,
    pub(crate) tokens: Arc<TokenVerifier>,
}

#[tonic::async_trait]
impl Publisher for PublisherService {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let admission = admission::<methods::Publish, _>(&request)?;
        Call::record_resource(&request, &request.get_ref().queue);
        let held = RequestCharge::of(&request);
        let connection = request::connection(&request)?;
        let accounts = request::accounts(&request)?;
        let PublishRequest { queue, mut messages, producer, atomic } = request.into_inner();
        let target =
            PublishTarget::open(&self.context, &admission, &connection, accounts.retained, &queue).await?;
        gather(&mut messages, &target.retained);
        let proposed = propose(&self.context, &target, messages, producer, atomic, false).await;
        let proposed = proposed.inspect_err(|error| telemetry::rejected(&self.context.observer, error))?;
        let (context, at) = (Arc::clone(&self.context), target.queue.at);
        // The batch is recorded even if the caller does not wait for the answer.
        let decided = async move {
            let _held = held;
            let decided = proposed.decided(&context, &target).await;
            decided.inspect_err(|error| telemetry::rejected(&context.observer, error))
        };
        let (published, errors) = Detached::new(&self.context.streams, decided).await?;
        let results = convert::publish_results(at, &published, &errors);
        Ok(Response::new(PublishResponse { results }))
    }

    type PublishStreamStream = Pin<Box<dyn Stream<Item = Result<PublishStreamResponse, Status>> + Send>>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let admission = admission(&request)?;
        let task = StreamTask::new(&self.context, &self.tokens, &request)?;
        let (answers, _) = task.run::<Publishing>(admission, Requests::of(&request)?);
        let answers = answers.map_ok(|frame| PublishStreamResponse { frame: Some(frame.frame()) });
        Ok(Response::new(Box::pin(answers)))
    }
}
