//! The leases of a consume stream: those that dispatch grants join the backlog, and are delivered from there.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use posthouse_proto::v1::{ConsumeOpened, Idle, consume_response as out};
use tokio::time::Instant;

use crate::{
    dispatch::{Credit, SessionEvent},
    rpc::{
        consume::{
            backlog::DeliveryFrame,
            frames::{ConsumeFrame, Deliveries, UnsentDeliveries},
            session_events::ended,
            stream::{Consuming, MAX_BACKLOG},
        },
        context,
        stream::{
            connection::PROTOCOL_VERSION,
            outbox::Outbox,
            task::{Next, StreamTask},
        },
        wire::{convert, status::ApiError},
    },
};

impl Consuming {
    /// Reads some leases of the backlog, and sends their deliveries.
    pub(super) async fn deliver(
        &mut self,
        task: &StreamTask,
        out: &mut Outbox<ConsumeFrame>,
    ) -> Result<(), ApiError> {
        // The right is checked at each delivery, not only when the stream is opened.
        self.source.permit.check_again(context::now())?;
        let slots = self.recording.pop();
        // The charge is made before the bodies are read, so that many streams do not all count on the same capacity.
        let expected = self.backlog.next_bytes(&task.context, &self.source)?;
        let mut charge = task.connection.accounts.deliveries.charge(expected);
        let read = self.backlog.read(&task.context, &self.source, slots).await?;
        charge.set(read.frames.iter().map(|frame| frame.bytes).sum());
        // No lease of these ends later.
        let leased_until = Instant::now() + Duration::from_millis(self.lease_duration_ms);
        for DeliveryFrame { batch, leases, bytes } in read.frames {
            let (leases, charge) = (self.session.unsent(leases), charge.split(bytes));
            let unsent = UnsentDeliveries { leases, _charge: charge };
            out.deliver(ConsumeFrame::Deliveries(Deliveries { batch, unsent }), leased_until.into_std());
        }
        let credit = self.balance.sent(read.count, &read.purged);
        self.add_credit(credit);
        Ok(())
    }

    /// Handles an event of dispatch, and all that have arrived behind it, so that small grants share a frame.
    pub(super) fn handle_session_events(
        &mut self,
        first: SessionEvent,
        out: &mut Outbox<ConsumeFrame>,
    ) -> Result<Next, ApiError> {
        let mut next = self.handle_session_event(first, out)?;
        while matches!(next, Next::Continue)
            && !self.backlog.is_resuming()
            && self.backlog.len() < MAX_BACKLOG
            && let Some(event) = self.events.next_now()
        {
            next = self.handle_session_event(event, out)?;
        }
        Ok(next)
    }

    fn handle_session_event(
        &mut self,
        event: SessionEvent,
        out: &mut Outbox<ConsumeFrame>,
    ) -> Result<Next, ApiError> {
        match event {
            SessionEvent::Resumed(leased) => {
                let opened = ConsumeOpened {
                    protocol_version: PROTOCOL_VERSION,
                    lease_duration: Some(convert::duration(self.lease_duration_ms)),
                    resumed_leases: u32::try_from(leased.len()).unwrap_or(u32::MAX),
                    queue_uid: convert::queue_uid(self.source.at.queue),
                };
                out.send(out::Frame::Opened(opened).into());
                self.balance.deduct(&leased);
                self.backlog.push(leased, true);
            }
            SessionEvent::Granted(leased) => {
                self.balance.deduct(&leased);
                self.backlog.push(leased, false);
            }
            SessionEvent::Idle { waiting, parked } => {
                // The answers to the settlements that made the subscription idle are ready, and are sent first.
                while let Some(Some(answer)) = self.answers.next().now_or_never() {
                    out.answer(answer?);
                }
                out.send(out::Frame::Idle(Idle { waiting, parked }).into());
            }
            SessionEvent::Drain => return Ok(Next::Drain),
            ended_by => return Err(ended(&ended_by)),
        }
        Ok(Next::Continue)
    }

    /// Adds credit to the session, for dispatch.
    pub(super) fn add_credit(&self, credit: Credit) {
        if credit.messages > 0 || credit.bytes > 0 {
            self.session.add_credit(credit);
        }
    }
}
