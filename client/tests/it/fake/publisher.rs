use bytes::Bytes;
use posthouse_proto::v1::{
    self, PublishStreamRequest, PublishStreamResponse, publish_stream_request as request,
    publish_stream_response::{self as response, Frame},
    publisher_server::Publisher,
};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Order, State};

type Answers = mpsc::Sender<Result<PublishStreamResponse, Status>>;

#[tonic::async_trait]
impl Publisher for State {
    type PublishStreamStream = ReceiverStream<Result<PublishStreamResponse, Status>>;

    async fn publish(&self, _: Request<v1::PublishRequest>) -> Result<Response<v1::PublishResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        self.admit(&request)?;
        let (answers, stream) = mpsc::channel(4096);
        let orders = self.orders.subscribe();
        let state = self.clone();
        tokio::spawn(async move {
            if let Err(status) = state.work(request.into_inner(), orders, &answers).await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl State {
    async fn work(
        &self,
        mut requests: Streaming<PublishStreamRequest>,
        mut orders: broadcast::Receiver<Order>,
        answers: &Answers,
    ) -> Result<(), Status> {
        let Some(request::Frame::Open(open)) = next(&mut requests).await? else {
            return Err(Status::invalid_argument("not opened"));
        };
        assert_eq!(open.queue, "tenants/t/departments/d/queues/q");
        let producer = open.producer.unwrap();
        let expected = self.records().producers.open(&producer.producer_id, producer.epoch);
        let next_sequence = expected.map_err(|status| Status::new(status.code.into(), status.message))?;
        let opened = response::Opened {
            protocol_version: 1,
            next_sequence,
            max_message_bytes: 10_000,
            ..response::Opened::default()
        };
        send(answers, Frame::Opened(opened)).await;
        loop {
            let frame = tokio::select! {
                frame = next(&mut requests) => frame?,
                order = orders.recv() => match order.unwrap() {
                    Order::End(status) => return Err(status),
                    Order::Drain(endpoint) => {
                        send(answers, Frame::Drain(v1::Drain { endpoint })).await;
                        continue;
                    }
                },
            };
            match frame {
                None => return Ok(()),
                Some(request::Frame::Batch(batch)) => {
                    let (id, epoch) = (&producer.producer_id, producer.epoch);
                    if let Some(answer) = self.store(id, epoch, batch, open.tell_message_ids) {
                        send(answers, Frame::BatchResult(answer)).await;
                    }
                }
                Some(request::Frame::RefreshToken(refresh)) => {
                    self.accept(&refresh.token)?;
                    self.records().refreshed.push(refresh.token);
                    send(answers, Frame::TokenRefreshed(v1::TokenRefreshed::default())).await;
                }
                Some(request::Frame::Open(_)) => return Err(Status::invalid_argument("opened twice")),
            }
        }
    }

    fn store(
        &self,
        id: &Bytes,
        epoch: u64,
        batch: request::Batch,
        return_ids: bool,
    ) -> Option<response::BatchResult> {
        let mut records = self.records();
        let outcome = records.producers.publish(id, epoch, batch.first_sequence, batch.messages);
        let outcome = match outcome {
            Ok(results) if return_ids => response::batch_result::Outcome::Results(one_by_one(results)),
            Ok(results) => response::batch_result::Outcome::Results(results),
            Err(status) => response::batch_result::Outcome::Error(status),
        };
        let answer = response::BatchResult { batch_id: batch.batch_id, outcome: Some(outcome) };
        (!records.producers.mute).then_some(answer)
    }
}

async fn next(requests: &mut Streaming<PublishStreamRequest>) -> Result<Option<request::Frame>, Status> {
    Ok(requests.message().await?.and_then(|request| request.frame))
}

async fn send(answers: &Answers, frame: Frame) {
    let _ = answers.send(Ok(PublishStreamResponse { frame: Some(frame) })).await;
}

fn one_by_one(results: response::Results) -> response::Results {
    let Some(all) = results.all_stored else { return results };
    let stored = |sequence| v1::publish_result::Stored { message_id: format!("m-{sequence}"), sequence };
    let result = |sequence| v1::publish_result::Result::Stored(stored(sequence));
    let sequences = all.first_sequence..all.first_sequence + u64::from(all.count);
    let results = sequences.map(|sequence| v1::PublishResult { result: Some(result(sequence)) });
    response::Results { all_stored: None, results: results.collect() }
}
