//! The work on one open stream: it reads frames, carries out commands, and does what is due by the clock.

use std::time::Duration;

use bytes::BytesMut;
use posthouse_proto::v1::{self, consume_request as request, consume_response::Frame};
use tokio::time::{Instant, sleep_until};

use super::{
    clock::{Clock, PING_AFTER, SILENCE_TIMEOUT},
    command::Extend,
    driver::{Driver, receive},
    ledger::{Arrival, Lease},
    stream::ConsumeStream,
};
use crate::{
    error::Error,
    stream::{StreamEnd, TOKEN_INTERVAL},
    time,
};

/// How long a few credits wait for more, to be returned in one frame.
const CREDIT_LINGER: Duration = Duration::from_millis(10);

impl Driver {
    /// Works on the stream until it ends.
    pub(super) async fn work(&mut self, stream: &mut ConsumeStream) -> StreamEnd {
        let mut clock = Clock::start(&stream.opened);
        if clock.to_resume == 0 {
            self.withdraw_not_resumed();
        }
        loop {
            if !self.send(stream, &mut clock) {
                return StreamEnd::Failed(stream.failure().await);
            }
            let wake = clock.next().min(self.closing.as_ref().map_or(clock.token, |closing| closing.until));
            tokio::select! {
                biased;
                frame = stream.next() => {
                    clock.on_frame();
                    match frame {
                        Ok(Some(frame)) => {
                            if let Some(end) = self.handle_frame(frame, &mut clock) {
                                return end;
                            }
                        }
                        Ok(None) if stream.is_half_closed() => return StreamEnd::Finished,
                        Ok(None) => return StreamEnd::Failed(Error::broken("the server ended the stream")),
                        Err(error) => return StreamEnd::Failed(error),
                    }
                }
                () = receive(&mut self.commands, &mut self.received), if !self.commands_ended => {
                    self.handle_commands();
                }
                () = sleep_until(wake) => {}
            }
            if let Some(end) = self.tick(stream, &mut clock).await {
                return end;
            }
        }
    }

    fn handle_frame(&mut self, frame: Frame, clock: &mut Clock) -> Option<StreamEnd> {
        self.backoff.reset();
        let handled = match frame {
            Frame::Deliveries(batch) => {
                self.deliver(batch.deliveries, clock);
                Ok(())
            }
            Frame::Settled(answer) => {
                let ledger = &mut self.ledger;
                self.settlements.answer(answer, |lease| ledger.remove(lease))
            }
            Frame::Extended(answer) => self.extensions.answer(answer).map(|answered| {
                for (lease, until) in &answered.extended {
                    if self.ledger.extended(lease, *until) {
                        self.lost.remove(&lease.token);
                    }
                }
                self.withdraw(&answered.lost);
            }),
            Frame::Idle(idle) => {
                if self.closing.is_none() && !self.stopping {
                    self.inbox.push_idle(idle.waiting, idle.parked);
                }
                Ok(())
            }
            // The next stream resumes the leases, so this one ends without releasing them.
            Frame::Drain(drain) => return Some(StreamEnd::drained(drain)),
            Frame::TokenRefreshed(_) | Frame::Pong(_) | Frame::Heartbeat(_) => Ok(()),
            Frame::Opened(_) => Err(Error::Protocol("the stream was opened twice")),
        };
        handled.err().map(StreamEnd::Failed)
    }

    fn deliver(&mut self, mut deliveries: Vec<v1::Delivery>, clock: &mut Clock) {
        detach_tokens(&mut deliveries);
        let resumed = deliveries.iter().filter(|delivery| delivery.resumed).count();
        let now = Instant::now();
        let mut slot = |delivery: &v1::Delivery| match self.ledger.deliver(delivery, now, clock.lease) {
            Arrival::New(slot) => Some(slot),
            Arrival::Resumed => None,
            Arrival::Revived => {
                self.lost.remove(&delivery.token);
                None
            }
        };
        let slots: Vec<Option<u32>> = deliveries.iter().map(&mut slot).collect();
        let renewed_after = clock.lease - clock.lease / 3;
        let short = deliveries.iter().filter_map(time::lease_time_left).any(|left| left < renewed_after);
        let new = deliveries.into_iter().zip(slots).filter_map(|(delivery, slot)| {
            let until = now + time::lease_time_left(&delivery).unwrap_or(clock.lease);
            Some((delivery, slot?, until))
        });
        if self.stopping {
            let leases = new.map(|(delivery, slot, _)| Lease { token: delivery.token, slot }).collect();
            self.release(leases);
        } else if self.closing.is_none() {
            self.inbox.push(new);
        }
        if resumed > 0 || short {
            // A resumed lease may be old, and so may one whose delivery was long on its way.
            clock.renewal = now;
        }
        if resumed > 0 && clock.to_resume > 0 {
            clock.to_resume = clock.to_resume.saturating_sub(u32::try_from(resumed).unwrap_or(u32::MAX));
            if clock.to_resume == 0 {
                self.withdraw_not_resumed();
            }
        }
    }

    fn withdraw_not_resumed(&mut self) {
        let lost = self.ledger.finish_resuming().into_iter().collect();
        self.withdraw(&lost);
    }

    /// Sends all frames that are due; `false` if the transport accepts no more.
    fn send(&mut self, stream: &mut ConsumeStream, clock: &mut Clock) -> bool {
        if stream.is_half_closed() {
            clock.credit = None;
            return true;
        }
        while let Some(frame) = self.settlements.next_frame() {
            if !stream.send(request::Frame::Settle(frame)) {
                return false;
            }
        }
        let now = Instant::now();
        while let Some(frame) = self.extensions.next_frame(now) {
            if !stream.send(request::Frame::Extend(frame)) {
                return false;
            }
        }
        if self.closing.is_some() {
            if self.commands_ended && !self.settlements.is_waiting() {
                return stream.half_close();
            }
            clock.credit = None;
            return true;
        }
        // Unconfirmed settlements use memory, so credits are held back while there are many.
        let behind = self.settlements.len() > self.ledger.max_unconfirmed();
        if !self.ledger.is_owed() || behind || self.stopping {
            clock.credit = None;
            return true;
        }
        let due = *clock.credit.get_or_insert(now + CREDIT_LINGER);
        if self.ledger.is_much_owed() || due <= now {
            clock.credit = None;
            return stream.send(request::Frame::Credit(self.ledger.drain_owed()));
        }
        true
    }

    async fn tick(&mut self, stream: &mut ConsumeStream, clock: &mut Clock) -> Option<StreamEnd> {
        let now = Instant::now();
        if self.closing.as_ref().is_some_and(|closing| closing.until <= now) {
            return Some(StreamEnd::Failed(Error::broken("closing took too long")));
        }
        if clock.token <= now {
            stream.refresh_token(&self.session.target.context).await;
            clock.token = now + TOKEN_INTERVAL;
        }
        if clock.renewal <= now {
            self.renew(now, clock.lease);
            clock.renewal = now + clock.lease / 3;
            clock.expiry = self.expire();
        }
        if clock.expiry.is_some_and(|expiry| expiry <= now) {
            clock.expiry = self.expire();
        }
        if clock.silence <= now {
            if clock.pinged {
                return Some(StreamEnd::Failed(Error::timed_out(SILENCE_TIMEOUT)));
            }
            stream.send(request::Frame::Ping(v1::Ping { ping_id: 1 }));
            clock.pinged = true;
            clock.silence = now + (SILENCE_TIMEOUT - PING_AFTER);
        }
        None
    }
}

impl Driver {
    /// Extends leases that are about to end, of deliveries in the inbox and of those that the application works on.
    fn renew(&mut self, now: Instant, duration: Duration) {
        let mut due = self.inbox.collect_ending(duration - duration / 3, duration);
        self.ledger.mark_waiting(&due, now);
        due.extend(self.ledger.collect_due(now, duration / 3, self.extend_for));
        for lease in due {
            self.extensions.push(Extend { lease, duration, done: None });
        }
    }
}

/// Copies the tokens out of their frame. A token lives until its settlement is confirmed, and would keep the payloads
/// of the whole frame in memory.
fn detach_tokens(deliveries: &mut [v1::Delivery]) {
    let mut tokens = BytesMut::with_capacity(deliveries.iter().map(|delivery| delivery.token.len()).sum());
    deliveries.iter().for_each(|delivery| tokens.extend_from_slice(&delivery.token));
    let mut tokens = tokens.freeze();
    for delivery in deliveries {
        delivery.token = tokens.split_to(delivery.token.len());
    }
}

#[cfg(test)]
mod tests {
    use posthouse_proto::v1::Delivery;

    use super::{BytesMut, detach_tokens};

    #[test]
    fn a_token_outlives_its_frame() {
        let frame = BytesMut::from(&b"one-payload-three"[..]).freeze();
        let delivery = |token| Delivery { token, ..Delivery::default() };
        let mut deliveries =
            vec![delivery(frame.slice(..3)), delivery(frame.slice(3..3)), delivery(frame.slice(12..))];
        detach_tokens(&mut deliveries);
        assert!(frame.is_unique(), "nothing else keeps the frame in memory");
        let tokens: Vec<&[u8]> = deliveries.iter().map(|delivery| &delivery.token[..]).collect();
        assert_eq!(tokens, [&b"one"[..], b"", b"three"]);
    }
}
