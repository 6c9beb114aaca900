//! Decodes the requests of a stream one by one.

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
    rpc::layers::intake::{ApiError, RequestFault, assembler::Assembler, elements},
};

/// The requests of a stream, in the call's extensions, until its handler acquires them.
#[derive(Clone)]
pub(crate) struct Requests(Arc<Mutex<Option<Undecoded>>>);

struct Undecoded {
    assembler: Assembler,
    method: &'static Method,
    retained: RetainedRequests,
    _slot: Option<StreamSlot>,
}

/// The requests of a stream, for its handler.
pub(crate) struct RequestFrames<T> {
    undecoded: Undecoded,
    request: PhantomData<T>,
}

/// A request that has arrived, and the charge for it until it is handled.
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
        slot: Option<StreamSlot>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Some(Undecoded { assembler, method, retained, _slot: slot }))))
    }

    /// Removes and returns the requests of this call.
    pub(crate) fn of<T>(request: &tonic::Request<tonic::Streaming<T>>) -> Result<RequestFrames<T>, ApiError> {
        let requests = request.extensions().get::<Self>();
        let undecoded =
            requests.and_then(|found| found.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        let undecoded = undecoded.ok_or_else(|| ApiError::fault("a stream has no requests"))?;
        Ok(RequestFrames { undecoded, request: PhantomData })
    }
}

impl<T: Message + Default> RequestFrames<T> {
    /// The next request; `None` after the client's end. The future may be dropped without losing a request.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrived<T>>, ApiError> {
        let Undecoded { assembler, method, retained, .. } = &mut self.undecoded;
        let Some((message, mut charge)) = poll_fn(|context| assembler.poll_next(context)).await? else {
            return Ok(None);
        };
        charge.grow(elements::count(method, &message)?.saturating_mul(ELEMENT_BYTES));
        // The decoded payloads are slices of the message, so its bytes are counted as retained.
        let request =
            T::decode(retained.counted(message)).map_err(|_| ApiError::from(RequestFault::Undecodable))?;
        Ok(Some(Arrived { request, charge }))
    }
}
