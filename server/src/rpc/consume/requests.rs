//! Handles the frames that the client of a consume stream sends.

use std::sync::Arc;

use futures_util::{FutureExt as _, stream::FuturesOrdered};
use posthouse_proto::v1::{
    ConsumeRequest, ExtendFrame, Pong, SettleFrame, consume_request as from, consume_response as out,
};

use crate::{
    account::Charge,
    rpc::{
        consume::{frames::ConsumeFrame, source::check_count, stream::Consuming},
        detached::Detached,
        layers::intake::Arrived,
        stream::{
            outbox::{ChargedFrame, Outbox, PendingAnswer},
            task::StreamTask,
        },
        wire::status::ApiError,
    },
};

impl Consuming {
    pub(super) fn handle_request(
        &mut self,
        task: &StreamTask,
        Arrived { request, mut charge }: Arrived<ConsumeRequest>,
        out: &mut Outbox<ConsumeFrame>,
    ) -> Result<(), ApiError> {
        match request.frame {
            Some(from::Frame::Credit(credit)) => {
                let credit = self.balance.add(&credit)?;
                self.add_credit(credit);
            }
            Some(from::Frame::Settle(frame)) => self.settle(task, frame, charge),
            Some(from::Frame::Extend(ExtendFrame { extend_id, tokens, lease_duration })) => {
                let (context, source) = (Arc::clone(&task.context), Arc::clone(&self.source));
                begin(&mut self.answers, async move {
                    let answer = match source.lease_duration_ms(lease_duration.as_ref()) {
                        // The error refuses this frame, and does not end the stream.
                        Err(error) => {
                            check_count("tokens", tokens.len())?;
                            ConsumeFrame::NotExtended(extend_id, tokens.len(), error)
                        }
                        Ok(_) => {
                            let extended = source.extend(&context, &tokens, lease_duration.as_ref()).await?;
                            ConsumeFrame::Extended(extend_id, extended)
                        }
                    };
                    charge.set(answer.bytes());
                    Ok((answer, charge))
                });
            }
            Some(from::Frame::RefreshToken(refresh)) => {
                let (permit, refreshed) = task.refresh(&self.source.permit, &refresh)?;
                self.source = Arc::new(self.source.with(permit));
                out.send(refreshed.into());
            }
            Some(from::Frame::Ping(ping)) => {
                out.send(out::Frame::Pong(Pong { ping_id: ping.ping_id }).into());
            }
            Some(from::Frame::Open(_)) => return Err(ApiError::frame("Open is for the first frame only")),
            None => return Err(ApiError::frame("the frame is of a kind this server does not know")),
        }
        Ok(())
    }

    pub(super) fn settle(
        &mut self,
        task: &StreamTask,
        SettleFrame { settle_id, settlements }: SettleFrame,
        mut charge: Charge,
    ) {
        let (context, source) = (Arc::clone(&task.context), Arc::clone(&self.source));
        let settled = async move {
            let decided = source.settle(&context, settlements).await?;
            let answer = ConsumeFrame::Settled(decided.answer(settle_id));
            charge.set(answer.bytes());
            Ok((answer, charge))
        };
        // The settlements are recorded even if the client does not wait for the answer.
        begin(&mut self.answers, Detached::new(&task.context.streams, settled));
    }
}

/// Polls the work for an answer once, so that settlements reach the log in the order they came.
fn begin(
    answers: &mut FuturesOrdered<PendingAnswer<ConsumeFrame>>,
    answer: impl Future<Output = Result<ChargedFrame<ConsumeFrame>, ApiError>> + Send + 'static,
) {
    let mut answer = Box::pin(answer);
    answers.push_back(match answer.as_mut().now_or_never() {
        Some(answer) => Box::pin(std::future::ready(answer)),
        None => answer,
    });
}
