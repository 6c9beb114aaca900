use std::time::Duration;

use bytes::Bytes;
use posthouse_proto::v1::{
    self, ConsumeRequest, ConsumeResponse, DeliveryBatch, consume_request as request,
    consume_response::Frame, consumer_server::Consumer, settle_result,
};
use tokio::{
    sync::{broadcast, mpsc},
    time::interval,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Order, State, refusal};

type Answers = mpsc::Sender<Result<ConsumeResponse, Status>>;

#[tonic::async_trait]
impl Consumer for State {
    type ConsumeStream = ReceiverStream<Result<ConsumeResponse, Status>>;

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        self.admit(&request)?;
        let (answers, stream) = mpsc::channel(4096);
        let orders = self.orders.subscribe();
        let state = self.clone();
        tokio::spawn(async move {
            if let Err(status) = state.deliver(request.into_inner(), orders, &answers).await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn receive(&self, _: Request<v1::ReceiveRequest>) -> Result<Response<v1::ReceiveResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn settle(&self, _: Request<v1::SettleRequest>) -> Result<Response<v1::SettleResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn extend_leases(
        &self,
        _: Request<v1::ExtendLeasesRequest>,
    ) -> Result<Response<v1::ExtendLeasesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// The state of one stream.
struct Session {
    id: Bytes,
    /// The number of this stream in its session.
    number: u64,
    credit: v1::Credit,
    sent_idle: bool,
}

impl State {
    async fn deliver(
        &self,
        mut requests: Streaming<ConsumeRequest>,
        mut orders: broadcast::Receiver<Order>,
        answers: &Answers,
    ) -> Result<(), Status> {
        let Some(request::Frame::Open(open)) = next(&mut requests).await? else {
            return Err(Status::invalid_argument("not opened"));
        };
        let mut session = self.open(open, answers).await;
        let mut poll = interval(Duration::from_millis(1));
        loop {
            tokio::select! {
                frame = next(&mut requests) => match frame? {
                    Some(frame) => self.handle(frame, &mut session, answers).await?,
                    None => {
                        self.records().leases.end_leases(Some(&session.id), 0);
                        return Ok(());
                    }
                },
                order = orders.recv() => match order.unwrap() {
                    Order::End(status) => return Err(status),
                    Order::Drain(endpoint) => send(answers, Frame::Drain(v1::Drain { endpoint })).await,
                },
                _ = poll.tick() => {
                    if self.records().leases.sessions[&session.id] != session.number {
                        return Err(refusal(Code::Aborted, "SESSION_TAKEN_OVER"));
                    }
                }
            }
            self.send_ready(&mut session, answers).await;
        }
    }

    async fn open(&self, open: v1::OpenConsume, answers: &Answers) -> Session {
        let (resumed, number) = {
            let leases = &mut self.records().leases;
            let number = leases.sessions.entry(open.session_id.clone()).or_default();
            *number += 1;
            (leases.resumed(&open.session_id), leases.sessions[&open.session_id])
        };
        let credit = open.credit.unwrap();
        let mut session = Session { id: open.session_id, number, credit, sent_idle: false };
        let lease_duration = open.lease_duration.or(Some(prost_types::Duration { seconds: 30, nanos: 0 }));
        let resumed_leases = resumed.len() as u32;
        let opened = v1::ConsumeOpened {
            protocol_version: 1,
            lease_duration,
            resumed_leases,
            ..v1::ConsumeOpened::default()
        };
        send(answers, Frame::Opened(opened)).await;
        for delivery in &resumed {
            session.charge(delivery);
        }
        if !resumed.is_empty() {
            send(
                answers,
                Frame::Deliveries(DeliveryBatch { deliveries: resumed, ..DeliveryBatch::default() }),
            )
            .await;
        }
        session
    }

    async fn send_ready(&self, session: &mut Session, answers: &Answers) {
        let (deliveries, idle) = {
            let leases = &mut self.records().leases;
            let mut deliveries = Vec::new();
            while session.credit.messages > 0 && session.credit.bytes > 0 && deliveries.len() < 100 {
                let Some(delivery) = leases.lease(&session.id) else { break };
                session.charge(&delivery);
                deliveries.push(delivery);
            }
            leases.credit = session.credit;
            (deliveries, leases.ready.is_empty() && leases.leased.is_empty())
        };
        if !deliveries.is_empty() {
            send(answers, Frame::Deliveries(DeliveryBatch { deliveries, ..DeliveryBatch::default() })).await;
        }
        if idle && !session.sent_idle {
            send(answers, Frame::Idle(v1::Idle { waiting: 0, parked: 0 })).await;
        }
        session.sent_idle = idle;
    }

    async fn handle(
        &self,
        frame: request::Frame,
        session: &mut Session,
        answers: &Answers,
    ) -> Result<(), Status> {
        match frame {
            request::Frame::Credit(credit) => {
                session.credit.messages += credit.messages;
                session.credit.bytes += credit.bytes;
            }
            request::Frame::Settle(frame) => {
                if let Some(answer) = self.settle_frame(&frame) {
                    send(answers, Frame::Settled(answer)).await;
                }
            }
            request::Frame::Extend(frame) => {
                let results = {
                    let leases = &mut self.records().leases;
                    frame.tokens.iter().map(|token| leases.extend(token)).collect()
                };
                let extended = v1::ExtendedFrame { extend_id: frame.extend_id, results };
                send(answers, Frame::Extended(extended)).await;
            }
            request::Frame::RefreshToken(refresh) => {
                self.accept(&refresh.token)?;
                self.records().refreshed.push(refresh.token);
                send(answers, Frame::TokenRefreshed(v1::TokenRefreshed::default())).await;
            }
            request::Frame::Ping(ping) => {
                let deaf = {
                    let leases = &mut self.records().leases;
                    leases.pings += 1;
                    leases.deaf
                };
                if deaf {
                    return Ok(());
                }
                send(answers, Frame::Pong(v1::Pong { ping_id: ping.ping_id })).await;
            }
            request::Frame::Open(_) => return Err(Status::invalid_argument("opened twice")),
        }
        Ok(())
    }

    fn settle_frame(&self, frame: &v1::SettleFrame) -> Option<v1::SettledFrame> {
        let leases = &mut self.records().leases;
        leases.settle_frames += 1;
        let results: Vec<_> = frame.settlements.iter().map(|settlement| leases.settle(settlement)).collect();
        let all = results.iter().all(|it| matches!(it.result, Some(settle_result::Result::Settled(_))));
        let settle_id = frame.settle_id;
        let answer = if all {
            v1::SettledFrame { settle_id, all_settled: results.len() as u32, results: Vec::new() }
        } else {
            v1::SettledFrame { settle_id, all_settled: 0, results }
        };
        (!leases.mute).then_some(answer)
    }
}

impl Session {
    fn charge(&mut self, delivery: &v1::Delivery) {
        let bytes = delivery.message.as_ref().unwrap().payload.len() as u64;
        self.credit.messages = self.credit.messages.saturating_sub(1);
        self.credit.bytes = self.credit.bytes.saturating_sub(bytes);
    }
}

async fn next(requests: &mut Streaming<ConsumeRequest>) -> Result<Option<request::Frame>, Status> {
    Ok(requests.message().await?.and_then(|request| request.frame))
}

async fn send(answers: &Answers, frame: Frame) {
    let _ = answers.send(Ok(ConsumeResponse { frame: Some(frame) })).await;
}
