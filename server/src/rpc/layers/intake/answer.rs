//! The answer of a unary call, put together before it goes to the network, so that it is known what is held for a client that
//! does not read it.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Frame};
use tonic::{Status, body::Body};

use crate::{
    account::{Account, Charge, ConnectionAccounts},
    door::ChargedAnswer,
    limits::LITTLE_ANSWER_BYTES,
    policy::{Kind, Method},
    quota::StreamSlot,
    rpc::layers::intake::ApiError,
};

/// The answer, charged. A large one that only tells something is refused if there is no room for it; one that tells what was
/// done is always given. `place` is kept for an answer that lasts.
pub(super) async fn answered(
    answer: Response<Body>,
    method: &Method,
    accounts: &ConnectionAccounts,
    place: Option<StreamSlot>,
) -> Result<Response<Body>, ApiError> {
    let (mut head, mut body) = answer.into_parts();
    if let Some(place) = place {
        let body = body.map_frame(move |frame| {
            let _kept = &place;
            frame
        });
        return Ok(Response::from_parts(head, Body::new(body)));
    }
    if body.is_end_stream() {
        return Ok(Response::from_parts(head, body));
    }
    let (data, trailers) = whole(&mut body).await;
    // What it was charged before, as a receive is.
    let charged = head.extensions.remove::<ChargedAnswer>().and_then(|unread| unread.take());
    if let Some(charge) = charge(&accounts.requests, charged, data.len(), method.kind) {
        head.extensions.insert(ChargedAnswer::new(charge));
        let trailers = trailers.map(Ok);
        return Ok(Response::from_parts(head, Body::new(Full::new(data).with_trailers(async { trailers }))));
    }
    accounts.counters.refused.inc();
    Err(ApiError::no_capacity())
}

fn charge(account: &Account, charged: Option<Charge>, bytes: usize, kind: Kind) -> Option<Charge> {
    if let Some(mut charge) = charged {
        charge.set(bytes);
        return Some(charge);
    }
    let small = bytes as u64 <= LITTLE_ANSWER_BYTES;
    if small || kind != Kind::Read { Some(account.charge(bytes)) } else { account.try_charge(bytes) }
}

/// All data, and the trailers. The library makes them of what the handler has returned, at once.
async fn whole(body: &mut Body) -> (Bytes, Option<HeaderMap>) {
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) if first.is_empty() => first = data,
            Ok(Ok(data)) => {
                if more.is_empty() {
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&data);
            }
            Ok(Err(last)) => return (joined(first, more), last.into_trailers().ok()),
            Err(status) => return (joined(first, more), Some(trailers(&status))),
        }
    }
    (joined(first, more), None)
}

fn joined(first: Bytes, more: BytesMut) -> Bytes {
    if more.is_empty() { first } else { more.freeze() }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // It was made of a status: it can be told.
    let _ = status.add_header(&mut trailers);
    trailers
}
