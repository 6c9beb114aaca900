//! A stream's requests, one by one.

use std::{
    future::poll_fn,
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
};

use prost::Message;

use crate::{
    account::{Charge, RetainedRequests},
    limits::ELEMENT_BYTES,
    policy::Method,
    quota::StreamSlot,
    rpc::layers::intake::{ApiError, Fault, assembler::Assembler, elements},
};

/// In the request's extensions: the requests of its stream, for its handler to take.
#[derive(Clone)]
pub(crate) struct Requests(Arc<Mutex<Option<Undecoded>>>);

struct Undecoded {
    assembler: Assembler,
    method: &'static Method,
    retained: RetainedRequests,
    _place: Option<StreamSlot>,
}

/// The requests of a stream, for its handler.
pub(crate) struct Frames<T> {
    undecoded: Undecoded,
    request: PhantomData<T>,
}

/// A request that has come, and what is charged for it until it is handled.
#[derive(Debug)]
pub(crate) struct Arrived<T> {
    pub(crate) request: T,
    pub(crate) charge: Charge,
}

impl Requests {
    pub(super) fn new(
        assembler: Assembler,
        method: &'static Method,
        retained: RetainedRequests,
        place: Option<StreamSlot>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Some(Undecoded { assembler, method, retained, _place: place }))))
    }

    /// Those of this call, once.
    pub(crate) fn of<T>(request: &tonic::Request<tonic::Streaming<T>>) -> Result<Frames<T>, ApiError> {
        let requests = request.extensions().get::<Self>();
        let undecoded =
            requests.and_then(|found| found.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        let undecoded = undecoded.ok_or_else(|| ApiError::fault("a stream has no requests"))?;
        Ok(Frames { undecoded, request: PhantomData })
    }
}

impl<T: Message + Default> Frames<T> {
    /// The next request; `None` after the client's end. Nothing is lost if this is not waited for to its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrived<T>>, ApiError> {
        let Undecoded { assembler, method, retained, .. } = &mut self.undecoded;
        let Some((message, mut charge)) = poll_fn(|context| assembler.poll_next(context)).await? else {
            return Ok(None);
        };
        charge.grow(elements::count(method, &message)?.saturating_mul(ELEMENT_BYTES));
        // What is decoded are slices of the message.
        let request = T::decode(retained.counted(message)).map_err(|_| ApiError::from(Fault::Undecodable))?;
        Ok(Some(Arrived { request, charge }))
    }
}
