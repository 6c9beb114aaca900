//! Deliveries without a stream: one batch, for simple programs.

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

/// Tag and length of one delivery in the answer.
const FRAMING_BYTES: usize = 6;
/// About what a delivery takes beside its payload.
const DELIVERY_BYTES: usize = 256;

/// Leases up to `max_messages`, waiting up to `wait` for the first, and not up to the caller's deadline. With the deliveries
/// comes what to do once the caller has been sent them: if it goes away before, they are released.
pub(crate) async fn receive(
    context: &Context,
    admission: &Admission<methods::Receive>,
    request: ReceiveRequest,
    deadline: Option<Deadline>,
    accounts: &ConnectionAccounts,
) -> Result<Received, ApiError> {
    let most = u32::try_from(limits::MAX_SETTLEMENTS).unwrap_or(u32::MAX);
    if !(1..=most).contains(&request.max_messages) {
        let text = format!("must be 1 to {most}");
        return Err(ApiError::field(ErrorReason::RequestInvalid, "max_messages", text).with_limit(most));
    }
    let wait_ms =
        request.wait.as_ref().map_or(Ok(0), |wait| convert::millis("wait", wait, 0..=limits::MAX_WAIT_MS))?;
    if context.drain.is_cancelled() {
        return Err(ApiError::draining());
    }
    // A session of its own: nobody resumes it, and a settle names only tenant and subject.
    let session_id: [u8; limits::SESSION_ID_BYTES] = rand::random();
    let source = Source::open(context, admission, &request.queue, &request.subscription, &session_id).await?;
    if wait_ms == 0 {
        let (at, origin) = (source.at, source.queue.department.origin());
        let counts = context.shards.query(origin, move |m, kv| m.counts(kv, at)).await??;
        if counts.unwrap_or_default().ready == 0 {
            return Ok(Received::default());
        }
    }
    let until = until(wait_ms, deadline)?;
    let (events, mut told) = mpsc::unbounded_channel();
    let limit = u64::try_from(limits::MAX_PUBLISH_BYTES).unwrap_or(u64::MAX);
    let bytes = if request.max_bytes == 0 { limit } else { request.max_bytes.min(limit) };
    let open = SessionOpen {
        key: context.session_key(),
        subscription: source.at,
        holder: source.holder.clone(),
        lease_duration_ms: source.lease_duration_ms(request.lease_duration.as_ref())?,
        credit: Credit { messages: request.max_messages, bytes },
        events,
    };
    let session = context.shards.open_session(source.queue.department.origin(), open);
    // Nobody else knows this session: what is leased to it and not answered goes back.
    session.release_when_dropped();
    let leased = granted(&mut told, until, wait_ms == 0).await?;
    // Before they are read: without room for them, the leases go back.
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
            // The first cannot be read: it stays leased, and counts when its lease runs out, so that it is given up.
            session.stop(granted.into_iter().skip(1).collect());
            session.close_keeping_leases();
            return Err(error);
        }
    };
    let now = context.clock.now();
    let rest = deliveries.split_off(fitting(&deliveries, now));
    let unread = granted.into_iter().skip(read);
    session.stop(rest.iter().map(|delivery| delivery.live).chain(unread).collect());
    // Reading, and a place for the record, take their time.
    deadline.map_or(Ok(()), Deadline::check)?;
    telemetry::delivered(&context.observer, &source.permit, &deliveries, now, slots);
    let taken = SendTracker::before_end(|| session.close_keeping_leases());
    let now = context.clock.now();
    let deliveries = deliveries.into_iter().map(|delivery| delivery.into_delivery(now)).collect();
    Ok(Received { deliveries, taken: Some((taken, charge)) })
}

/// What is received.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) deliveries: Vec<Delivery>,
    /// What to do once the caller has been sent them, and what they are charged until then.
    pub(crate) taken: Option<(SendTracker, Charge)>,
}

/// How long messages may be leased to a call.
fn until(wait_ms: u64, deadline: Option<Deadline>) -> Result<Instant, ApiError> {
    // Without a wait, what is ready is still given the time to be leased.
    let patience = if wait_ms == 0 { limits::GRANT_PATIENCE_MS } else { wait_ms };
    let until = Instant::now() + Duration::from_millis(patience);
    let Some(deadline) = deadline else { return Ok(until) };
    let last = deadline.last_lease().ok_or_else(|| {
        let text = "the call's deadline leaves too little time: nothing is leased in its last 100 ms; call again with more";
        Deadline::exceeded(text)
    })?;
    Ok(until.min(last))
}

/// What is leased to the session by the time the first leases come, or none do.
async fn granted(
    told: &mut mpsc::UnboundedReceiver<SessionEvent>,
    until: Instant,
    at_once: bool,
) -> Result<Vec<Leased>, ApiError> {
    let first = tokio::time::timeout_at(until, first_grant(told, at_once)).await;
    let mut granted = first.unwrap_or_else(|_| Ok(Vec::new()))?;
    // From here on dispatch takes back what it would tell; what it has told is the caller's.
    told.close();
    while let Ok(event) = told.try_recv() {
        if let SessionEvent::Granted(more) = event {
            granted.extend(more);
        }
    }
    Ok(granted)
}

async fn first_grant(
    told: &mut mpsc::UnboundedReceiver<SessionEvent>,
    at_once: bool,
) -> Result<Vec<Leased>, ApiError> {
    loop {
        match told.recv().await {
            Some(SessionEvent::Granted(granted)) => return Ok(granted),
            Some(SessionEvent::Idle { .. }) if at_once => return Ok(Vec::new()),
            Some(SessionEvent::Resumed(_) | SessionEvent::Idle { .. }) => {}
            Some(event) => return Err(session_events::ended(&event)),
            None => return Err(ApiError::draining()),
        }
    }
}

/// How many deliveries an answer takes: attributes count as well as payloads, and clients refuse what is larger.
fn fitting(deliveries: &[LeasedMessage], now: Now) -> usize {
    let mut bytes = 0;
    let fits = |delivery: &&LeasedMessage| {
        bytes += delivery.encoded_len(now) + FRAMING_BYTES;
        bytes <= limits::MAX_FRAME_BYTES
    };
    deliveries.iter().take_while(fits).count().max(1).min(deliveries.len())
}

/// RecordSlots for the records of so many deliveries, where such are kept. An error gives the leases back.
async fn reserve_slots(context: &Context, deliveries: usize) -> Result<Option<RecordSlot>, ApiError> {
    let access = &context.observer.access;
    if !access.keeps_messages() {
        return Ok(None);
    }
    if deliveries == 0 {
        // That there are none would not be true.
        return if access.is_blocked() { Err(ApiError::access_not_recorded()) } else { Ok(None) };
    }
    let slots =
        tokio::time::timeout(limits::ACCESS_PATIENCE, access.reserve_many(slots_of(deliveries))).await;
    slots.map(Some).map_err(|_| {
        context.observer.metrics.own.access_released.inc_by(deliveries as u64);
        ApiError::access_not_recorded()
    })
}
