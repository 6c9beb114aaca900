//! Changes are made only with a place for their record, and to their end: a layer behind the one that asks who is calling, in
//! front of every handler, that goes by the kind of the method. The whole request is there by now, so nobody holds a place for as
//! long as it likes.

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
        layers::{intake::Held, watch::Call},
        wire::status::ApiError,
    },
};

/// In front of the services.
#[derive(Clone, Debug)]
pub(crate) struct Changes<S> {
    observer: Arc<Observer>,
    /// The server ends after these.
    tasks: TaskTracker,
    inner: S,
}

impl<S> Changes<S> {
    pub(crate) fn new(observer: Arc<Observer>, tasks: TaskTracker, inner: S) -> Self {
        Self { observer, tasks, inner }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Changes<S>
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
        let change = call.filter(|call| call.is(Kind::Change) && self.observer.access.keeps_changes());
        let Some(call) = change.cloned() else { return Either::Left(self.inner.call(request)) };
        // The one that is ready.
        let next = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, next);
        let (observer, tasks) = (Arc::clone(&self.observer), self.tasks.clone());
        Either::Right(Box::pin(async move {
            let Some(slot) = observer.access.reserve().await else {
                return Ok(Status::from(ApiError::access_not_recorded()).into_http());
            };
            let mut record = Ending { observer, call, slot: Some(slot) };
            // On record as it ended, even if the caller does not wait for it. What it holds is charged until then.
            let held = request.extensions().get::<Held>().cloned();
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

/// Sees to the record, whatever becomes of the change.
struct Ending {
    observer: Arc<Observer>,
    call: Arc<Call>,
    slot: Option<RecordSlot>,
}

impl Ending {
    fn ended(&mut self, status: &Status) {
        if let Some(slot) = self.slot.take() {
            self.call.changed(&self.observer, status, slot);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Its handler panicked, or the process ends.
        self.ended(&ApiError::internal().into());
    }
}
