//! Assembles and charges the answer of a unary call before it goes to the network, so that its bytes are counted while
//! a client does not read it.

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

/// The charged answer. A large answer to a read is refused if the account has no capacity for it; the answer to a
/// change is never refused. An answer that lasts holds the `slot` until its end, and is not charged here.
pub(super) async fn charged(
    answer: Response<Body>,
    method: &Method,
    accounts: &ConnectionAccounts,
    slot: Option<StreamSlot>,
) -> Result<Response<Body>, ApiError> {
    let (mut head, mut body) = answer.into_parts();
    if let Some(slot) = slot {
        let body = body.map_frame(move |frame| {
            let _held = &slot;
            frame
        });
        return Ok(Response::from_parts(head, Body::new(body)));
    }
    if body.is_end_stream() {
        return Ok(Response::from_parts(head, body));
    }
    let (data, trailers) = whole(&mut body).await;
    // A handler may have charged the answer already, for example that of `Receive`.
    let earlier = head.extensions.remove::<ChargedAnswer>().and_then(|unread| unread.remove_charge());
    if let Some(charge) = charge(&accounts.requests, earlier, data.len(), method.kind) {
        head.extensions.insert(ChargedAnswer::new(charge));
        let trailers = trailers.map(Ok);
        return Ok(Response::from_parts(head, Body::new(Full::new(data).with_trailers(async { trailers }))));
    }
    accounts.counters.refused.inc();
    Err(ApiError::no_capacity())
}

/// The charge for so many bytes of an answer; `None` if it is refused.
fn charge(account: &Account, earlier: Option<Charge>, bytes: usize, kind: Kind) -> Option<Charge> {
    if let Some(mut charge) = earlier {
        charge.set(bytes);
        return Some(charge);
    }
    let small = bytes as u64 <= LITTLE_ANSWER_BYTES;
    if small || kind != Kind::Read { Some(account.charge(bytes)) } else { account.try_charge(bytes) }
}

/// All data and the trailers of a body. The library makes them of the handler's result without waiting.
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
    // A status that came from a body has a valid message, so this does not fail.
    let _ = status.add_header(&mut trailers);
    trailers
}
