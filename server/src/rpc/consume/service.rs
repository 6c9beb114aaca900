//! The `Consumer` service.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, TryStreamExt as _};
use posthouse_proto::v1::{
    ConsumeRequest, ConsumeResponse, ExtendLeasesRequest, ExtendLeasesResponse, ReceiveRequest,
    ReceiveResponse, SettleRequest, SettleResponse, consumer_server::Consumer,
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    door::{ChargedAnswer, SendTracker},
    identity::TokenVerifier,
    policy::methods,
    rpc::{
        consume::{receive, source::Source, stream::Consuming},
        context::Context,
        detached::Detached,
        layers::{
            call::Call,
            intake::{RequestCharge, Requests},
        },
        request::{self, admission},
        stream::task::StreamTask,
        wire::deadline::Deadline,
    },
};

/// The `Consumer` service.
pub(crate) struct ConsumerService {
    pub(crate) context: Arc<Context>,
    pub(crate) tokens: Arc<TokenVerifier>,
}

#[tonic::async_trait]
impl Consumer for ConsumerService {
    type ConsumeStream = Pin<Box<dyn Stream<Item = Result<ConsumeResponse, Status>> + Send>>;

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let admission = admission(&request)?;
        let task = StreamTask::new(&self.context, &self.tokens, &request)?;
        let (answers, mut session) = task.run::<Consuming>(admission, Requests::of(&request)?);
        let tracker = SendTracker::before_end(move || {
            // The stream's task has sent the session before its end, if it ended cleanly. A session that is dropped
            // keeps its leases.
            if let Ok(session) = session.try_recv() {
                session.close_clean();
            }
        });
        let frames_tracker = tracker.clone();
        let answers = answers.map_ok(move |frame| frame.track(&frames_tracker));
        let mut response: Response<Self::ConsumeStream> = Response::new(Box::pin(answers));
        response.extensions_mut().insert(tracker);
        Ok(response)
    }

    async fn receive(&self, request: Request<ReceiveRequest>) -> Result<Response<ReceiveResponse>, Status> {
        let admission = admission(&request)?;
        Call::record_resource(&request, &request.get_ref().queue);
        let deadline = Deadline::of(&request);
        let accounts = request::accounts(&request)?;
        let request = request.into_inner();
        let received = receive::receive(&self.context, &admission, request, deadline, &accounts).await?;
        let mut response = Response::new(ReceiveResponse { deliveries: received.deliveries });
        if let Some((tracker, charge)) = received.until_sent {
            response.extensions_mut().insert(tracker);
            response.extensions_mut().insert(ChargedAnswer::new(charge));
        }
        Ok(response)
    }

    async fn settle(&self, request: Request<SettleRequest>) -> Result<Response<SettleResponse>, Status> {
        let admission = admission::<methods::Settle, _>(&request)?;
        Call::record_resource(&request, &request.get_ref().queue);
        let held = RequestCharge::of(&request);
        let SettleRequest { queue, subscription, settlements } = request.into_inner();
        let source = Source::open(&self.context, &admission, &queue, &subscription, &[]).await?;
        let context = Arc::clone(&self.context);
        // The settlements are recorded even if the caller does not wait for the answer.
        let settled = async move {
            let _held = held;
            source.settle(&context, settlements).await
        };
        let decided = Detached::new(&self.context.streams, settled).await?;
        Ok(Response::new(SettleResponse { results: decided.results() }))
    }

    async fn extend_leases(
        &self,
        request: Request<ExtendLeasesRequest>,
    ) -> Result<Response<ExtendLeasesResponse>, Status> {
        let admission = admission::<methods::ExtendLeases, _>(&request)?;
        Call::record_resource(&request, &request.get_ref().queue);
        let ExtendLeasesRequest { queue, subscription, tokens, lease_duration } = request.into_inner();
        let source = Source::open(&self.context, &admission, &queue, &subscription, &[]).await?;
        let extended = source.extend(&self.context, &tokens, lease_duration.as_ref()).await?;
        Ok(Response::new(ExtendLeasesResponse { results: extended.results() }))
    }
}
