//! `Receive`: one batch of deliveries without a stream, for simple programs.

use std::time::Duration;

use posthouse_proto::v1::{Delivery, ErrorReason, ReceiveRequest};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    account::{Charge, ConnectionAccounts},
    clock::Now,
    dispatch::{Credit, Leased, SessionEvent, SessionOpen},
    door::SendTracker,
    limits,
    observe::RecordSlot,
    policy::{Admission, methods},
    rpc::{
        consume::{
            backlog::deliveries,
            session_events,
            source::Source,
            telemetry::{self, slots_of},
        },
        context::{self, Context},
        wire::{convert, deadline::Deadline, delivery::LeasedMessage, status::ApiError},
    },
};

/// Bytes of the tag and the length of one delivery in the answer.
const FRAMING_BYTES: usize = 6;
/// About the bytes of a delivery beside its payload.
const DELIVERY_BYTES: usize = 256;

/// Leases up to `max_messages`. It waits up to `wait` for the first, but ends before the caller's deadline. Deliveries
/// that are not sent to the caller are released.
pub(crate) async fn receive(
    context: &Context,
    admission: &Admission<methods::Receive>,
    request: ReceiveRequest,
    deadline: Option<Deadline>,
    accounts: &ConnectionAccounts,
) -> Result<ReceivedBatch, ApiError> {
    let max = u32::try_from(limits::MAX_SETTLEMENTS).unwrap_or(u32::MAX);
    if !(1..=max).contains(&request.max_messages) {
        let text = format!("must be 1 to {max}");
        return Err(ApiError::field(ErrorReason::RequestInvalid, "max_messages", text).with_limit(max));
    }
    let wait_ms =
        request.wait.as_ref().map_or(Ok(0), |wait| convert::millis("wait", wait, 0..=limits::MAX_WAIT_MS))?;
    if context.drain.is_cancelled() {
        return Err(ApiError::draining());
    }
    // The session is the call's own: it is never resumed, and the settlements need only its tenant and subject.
    let session_id: [u8; limits::SESSION_ID_BYTES] = rand::random();
    let source = Source::open(context, admission, &request.queue, &request.subscription, &session_id).await?;
    if wait_ms == 0 {
        let (at, origin) = (source.at, source.queue.department.origin());
        let counts = context.shards.query(origin, move |m, kv| m.counts(kv, at)).await??;
        if counts.unwrap_or_default().ready == 0 {
            return Ok(ReceivedBatch::default());
        }
    }
    let until = until(wait_ms, deadline)?;
    let (sender, mut events) = mpsc::unbounded_channel();
    let limit = u64::try_from(limits::MAX_PUBLISH_BYTES).unwrap_or(u64::MAX);
    let bytes = if request.max_bytes == 0 { limit } else { request.max_bytes.min(limit) };
    let open = SessionOpen {
        key: context.session_key(),
        subscription: source.at,
        holder: source.holder.clone(),
        lease_duration_ms: source.lease_duration_ms(request.lease_duration.as_ref())?,
        credit: Credit { messages: request.max_messages, bytes },
        events: sender,
    };
    let session = context.shards.open_session(source.queue.department.origin(), open);
    // The session ends with the call: leases that are not in the answer are released.
    session.release_when_dropped();
    let leased = granted(&mut events, until, wait_ms == 0).await?;
    // The charge is made before the bodies are read: without capacity for them, the leases are released.
    let charge =
        accounts.deliveries.try_charge(leased.iter().map(|l| l.size as usize + DELIVERY_BYTES).sum());
    let charge = charge.ok_or_else(|| {
        accounts.counters.refused.inc();
        ApiError::no_capacity()
    })?;
    let granted: Vec<_> = leased.into_iter().map(|leased| leased.live).collect();
    source.permit.check_again(context::now())?;
    let slots = reserve_slots(context, granted.len()).await?;
    let (mut deliveries, read) = match deliveries(context, &source, &granted).await {
        Ok(deliveries) => deliveries,
        Err(error) => {
            // The first body cannot be read. Its lease is not returned, so that it ends as a failed attempt: after its
            // last attempt the message is no longer delivered.
            session.stop(granted.into_iter().skip(1).collect());
            session.close_keeping_leases();
            return Err(error);
        }
    };
    let now = context.clock.now();
    let rest = deliveries.split_off(fitting(&deliveries, now));
    let unread = granted.into_iter().skip(read);
    session.stop(rest.iter().map(|delivery| delivery.live).chain(unread).collect());
    // The deadline may have passed while bodies were read and slots were awaited.
    deadline.map_or(Ok(()), Deadline::check)?;
    telemetry::delivered(&context.observer, &source.permit, &deliveries, now, slots);
    let tracker = SendTracker::before_end(|| session.close_keeping_leases());
    let now = context.clock.now();
    let deliveries = deliveries.into_iter().map(|delivery| delivery.into_delivery(now)).collect();
    Ok(ReceivedBatch { deliveries, until_sent: Some((tracker, charge)) })
}

/// The deliveries of one call.
#[derive(Default)]
pub(crate) struct ReceivedBatch {
    pub(crate) deliveries: Vec<Delivery>,
    /// The tracker that closes the session when the deliveries are sent, and the charge for them until then.
    pub(crate) until_sent: Option<(SendTracker, Charge)>,
}

/// Until when messages may be leased to a call.
fn until(wait_ms: u64, deadline: Option<Deadline>) -> Result<Instant, ApiError> {
    // Messages that are ready need some time to be leased, even if the call does not wait for others.
    let patience = if wait_ms == 0 { limits::GRANT_PATIENCE_MS } else { wait_ms };
    let until = Instant::now() + Duration::from_millis(patience);
    let Some(deadline) = deadline else { return Ok(until) };
    let last = deadline.last_lease().ok_or_else(|| {
        let text = "the call's deadline leaves too little time: nothing is leased in its last 100 ms; \
                    call again with more";
        Deadline::exceeded(text)
    })?;
    Ok(until.min(last))
}

/// The leases that are granted to the session when the first ones arrive; none if none arrive in time.
async fn granted(
    events: &mut mpsc::UnboundedReceiver<SessionEvent>,
    until: Instant,
    at_once: bool,
) -> Result<Vec<Leased>, ApiError> {
    let first = tokio::time::timeout_at(until, first_grant(events, at_once)).await;
    let mut granted = first.unwrap_or_else(|_| Ok(Vec::new()))?;
    // Dispatch returns leases that it cannot send any more. Those that it has sent are the caller's.
    events.close();
    while let Ok(event) = events.try_recv() {
        if let SessionEvent::Granted(more) = event {
            granted.extend(more);
        }
    }
    Ok(granted)
}

async fn first_grant(
    events: &mut mpsc::UnboundedReceiver<SessionEvent>,
    at_once: bool,
) -> Result<Vec<Leased>, ApiError> {
    loop {
        match events.recv().await {
            Some(SessionEvent::Granted(granted)) => return Ok(granted),
            Some(SessionEvent::Idle { .. }) if at_once => return Ok(Vec::new()),
            Some(SessionEvent::Resumed(_) | SessionEvent::Idle { .. }) => {}
            Some(event) => return Err(session_events::ended(&event)),
            None => return Err(ApiError::draining()),
        }
    }
}

/// How many deliveries fit into the largest answer that clients accept; at least one.
fn fitting(deliveries: &[LeasedMessage], now: Now) -> usize {
    let mut bytes = 0;
    let fits = |delivery: &&LeasedMessage| {
        bytes += delivery.encoded_len(now) + FRAMING_BYTES;
        bytes <= limits::MAX_FRAME_BYTES
    };
    deliveries.iter().take_while(fits).count().max(1).min(deliveries.len())
}

/// Slots for the records of so many deliveries; `None` where deliveries are not recorded.
async fn reserve_slots(context: &Context, deliveries: usize) -> Result<Option<RecordSlot>, ApiError> {
    let access = &context.observer.access;
    if !access.keeps_messages() {
        return Ok(None);
    }
    if deliveries == 0 {
        // The answer must not say that there are no messages while none can be leased.
        return if access.is_blocked() { Err(ApiError::access_not_recorded()) } else { Ok(None) };
    }
    let slots =
        tokio::time::timeout(limits::ACCESS_PATIENCE, access.reserve_many(slots_of(deliveries))).await;
    slots.map(Some).map_err(|_| {
        context.observer.metrics.own.access_released.inc_by(deliveries as u64);
        ApiError::access_not_recorded()
    })
}
