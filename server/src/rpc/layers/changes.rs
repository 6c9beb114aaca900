//! The layer in front of the handlers that begins a change only with a slot for its access record, and completes it
//! even if its caller disconnects. It is behind `intake`: the request is whole, so that a slow client holds no slot.

use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{Request, Response};
use tokio_util::task::TaskTracker;
use tonic::{Status, body::Body};
use tower::Service;

use crate::{
    observe::{Observer, RecordSlot},
    policy::Kind,
    rpc::{
        detached::Detached,
        layers::{call::Call, intake::RequestCharge},
        wire::status::ApiError,
    },
};

/// Reserves a record slot for calls of the kind `Change`, and passes on all others at once.
#[derive(Clone, Debug)]
pub(crate) struct RecordChanges<S> {
    observer: Arc<Observer>,
    /// The tasks of changes whose caller has disconnected. The server ends after them.
    tasks: TaskTracker,
    inner: S,
}

impl<S> RecordChanges<S> {
    pub(crate) fn new(observer: Arc<Observer>, tasks: TaskTracker, inner: S) -> Self {
        Self { observer, tasks, inner }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for RecordChanges<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Answering>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = request.extensions().get::<Arc<Call>>();
        let change = call.filter(|call| call.is_kind(Kind::Change) && self.observer.access.keeps_changes());
        let Some(call) = change.cloned() else { return Either::Left(self.inner.call(request)) };
        // `poll_ready` was called on the service itself, not on its clone.
        let next = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, next);
        let (observer, tasks) = (Arc::clone(&self.observer), self.tasks.clone());
        Either::Right(Box::pin(async move {
            let Some(slot) = observer.access.reserve().await else {
                return Ok(Status::from(ApiError::access_not_recorded()).into_http());
            };
            let mut record = ChangeRecord { observer, call, slot: Some(slot) };
            // The change is completed and recorded even if the caller does not wait for it. Its request is charged
            // until then.
            let held = request.extensions().get::<RequestCharge>().cloned();
            let changing = async move {
                let _held = held;
                let answer = ready.call(request).await?;
                record.ended(&Status::from_header_map(answer.headers()).unwrap_or_else(|| Status::ok("")));
                Ok(answer)
            };
            Detached::new(&tasks, changing).await
        }))
    }
}

/// Writes the record of a change when it ends, or when this is dropped before.
struct ChangeRecord {
    observer: Arc<Observer>,
    call: Arc<Call>,
    slot: Option<RecordSlot>,
}

impl ChangeRecord {
    fn ended(&mut self, status: &Status) {
        if let Some(slot) = self.slot.take() {
            self.call.changed(&self.observer, status, slot);
        }
    }
}

impl Drop for ChangeRecord {
    fn drop(&mut self) {
        // The change has no status, because its handler panicked or the process is ending.
        self.ended(&ApiError::internal().into());
    }
}
