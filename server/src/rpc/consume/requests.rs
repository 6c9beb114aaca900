//! What the client of a consume stream has for the server.

use std::sync::Arc;

use futures_util::{FutureExt as _, stream::FuturesOrdered};
use posthouse_proto::v1::{
    ConsumeRequest, ExtendFrame, Pong, RefreshToken, SettleFrame, TokenRefreshed, consume_request as from,
    consume_response as out,
};

use crate::{
    account::Charge,
    rpc::{
        consume::{
            outgoing::Outgoing,
            source::{Source, check_count},
            stream::{Answer, Answered, ConsumeStream, Open, give},
        },
        detached::Lasting,
        layers::intake::Arrived,
        stream::{connection::refresh, outbox::Outlet},
        wire::status::ApiError,
    },
};

impl ConsumeStream {
    /// What the client has for the server.
    pub(super) fn take(
        &self,
        open: &mut Open,
        Arrived { request, mut charge }: Arrived<ConsumeRequest>,
        out: &mut Outlet<Outgoing>,
    ) -> Result<(), ApiError> {
        match request.frame {
            Some(from::Frame::Credit(credit)) => give(&open.session, open.balance.add(&credit)?),
            Some(from::Frame::Settle(frame)) => self.settle(open, frame, charge),
            Some(from::Frame::Extend(ExtendFrame { extend_id, tokens, lease_duration })) => {
                let (context, source) = (Arc::clone(&self.context), Arc::clone(&open.source));
                begin(&mut open.answers, async move {
                    let answer = match source.lease_duration_ms(lease_duration.as_ref()) {
                        // It spoils this frame, not the stream.
                        Err(error) => {
                            check_count("tokens", tokens.len())?;
                            Outgoing::NotExtended(extend_id, tokens.len(), error)
                        }
                        Ok(_) => {
                            let extended = source.extend(&context, &tokens, lease_duration.as_ref()).await?;
                            Outgoing::Extended(extend_id, extended)
                        }
                    };
                    charge.set(answer.bytes());
                    Ok((answer, charge))
                });
            }
            Some(from::Frame::RefreshToken(RefreshToken { token })) => {
                let (permit, expire_time) =
                    refresh(&self.tokens, &self.connection, &open.source.permit, &token)?;
                let Source { queue, at, holder, .. } = &*open.source;
                let source = Source { permit, queue: queue.clone(), at: *at, holder: holder.clone() };
                open.source = Arc::new(source);
                let refreshed = TokenRefreshed { expire_time: Some(expire_time) };
                out.send(out::Frame::TokenRefreshed(refreshed).into());
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
        &self,
        open: &mut Open,
        SettleFrame { settle_id, settlements }: SettleFrame,
        mut charge: Charge,
    ) {
        let (context, source) = (Arc::clone(&self.context), Arc::clone(&open.source));
        let settled = async move {
            let decided = source.settle(&context, settlements).await?;
            let answer = Outgoing::Settled(decided.answer(settle_id));
            charge.set(answer.bytes());
            Ok((answer, charge))
        };
        // On record even if the client goes.
        begin(&mut open.answers, Lasting::new(&self.context.streams, settled));
    }
}

/// Begins an answer now, so that settlements reach the log in the order they came.
fn begin(
    answers: &mut FuturesOrdered<Answer>,
    answer: impl Future<Output = Result<Answered, ApiError>> + Send + 'static,
) {
    let mut answer = Box::pin(answer);
    answers.push_back(match answer.as_mut().now_or_never() {
        Some(answer) => Box::pin(std::future::ready(answer)),
        None => answer,
    });
}
