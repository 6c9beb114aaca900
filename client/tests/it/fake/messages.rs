use posthouse_proto::v1::{self, DeadLetterReason, MessageState, messages_server::Messages};
use tonic::{Code, Request, Response, Status};

use super::{State, refusal};

/// The queue has five dead letters, of which `m3` is leased.
#[tonic::async_trait]
impl Messages for State {
    async fn find_message(
        &self,
        request: Request<v1::FindMessageRequest>,
    ) -> Result<Response<v1::MessageStatus>, Status> {
        self.admit(&request)?;
        let id = &request.get_ref().message_id;
        let found = letters().into_iter().find(|letter| letter.message_id == *id);
        found.map(Response::new).ok_or_else(|| refusal(Code::PermissionDenied, "GRANT_MISSING"))
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        self.admit(&request)?;
        let request = request.into_inner();
        assert_eq!(request.queue, "tenants/t/departments/d/queues/dead");
        let start: usize = request.page_token.parse().unwrap_or(0);
        let wanted = |letter: &v1::MessageStatus| {
            let source = &letter.dead_letter.as_ref().unwrap().source_message_id;
            request.source_message_id.is_empty() || *source == request.source_message_id
        };
        let dead_letters = letters().into_iter().skip(start).take(2).filter(wanted).collect();
        let end = start + 2;
        let next_page_token = if end < letters().len() { end.to_string() } else { String::new() };
        Ok(Response::new(v1::ListDeadLettersResponse { dead_letters, next_page_token }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<v1::RedriveDeadLettersRequest>,
    ) -> Result<Response<v1::RedriveDeadLettersResponse>, Status> {
        self.admit(&request)?;
        let request = request.into_inner();
        let named = |letter: &v1::MessageStatus| {
            request.message_ids.is_empty() || request.message_ids.contains(&letter.message_id)
        };
        let named: Vec<_> = letters().into_iter().filter(named).collect();
        if !request.target_queue.is_empty() {
            assert_eq!(request.target_queue, "tenants/t/departments/d/queues/other");
        }
        let mut records = self.records();
        records.request_ids.push(request.request_id);
        // Without ids it reaches two dead letters; with ids, all but the last.
        let start: usize = request.page_token.parse().unwrap_or(0);
        let end = if request.max_messages == 0 { named.len() } else { (start + 2).min(named.len()) };
        let skipped = named[start..end].iter().filter(|letter| letter.state() == MessageState::Leased);
        let skipped_dead_letters: Vec<_> = skipped
            .map(|letter| v1::SkippedDeadLetter {
                message_id: letter.message_id.clone(),
                reason: v1::SkipReason::Leased.into(),
            })
            .collect();
        let skipped = skipped_dead_letters.len() as u64;
        let (ids, more) = (!request.message_ids.is_empty(), end < named.len());
        Ok(Response::new(v1::RedriveDeadLettersResponse {
            redriven: (end - start) as u64 - skipped,
            skipped,
            more,
            next_page_token: if more && !ids { end.to_string() } else { String::new() },
            not_reached: named[end..]
                .iter()
                .filter(|_| ids)
                .map(|letter| letter.message_id.clone())
                .collect(),
            skipped_by_reason: vec![v1::SkippedCount {
                reason: v1::SkipReason::Leased.into(),
                count: skipped,
            }],
            skipped_dead_letters,
        }))
    }
}

fn letters() -> Vec<v1::MessageStatus> {
    let letter = |sequence: u64| v1::MessageStatus {
        message_id: format!("m{sequence}"),
        queue: "tenants/t/departments/d/queues/dead".to_owned(),
        sequence,
        state: if sequence == 3 { MessageState::Leased } else { MessageState::Ready }.into(),
        lease_deadline: (sequence == 3).then_some(prost_types::Timestamp { seconds: 100, nanos: 0 }),
        dead_letter: Some(v1::DeadLetter {
            reason: DeadLetterReason::Consumer.into(),
            source_message_id: format!("s{sequence}"),
            source_queue: "tenants/t/departments/d/queues/q".to_owned(),
            ..v1::DeadLetter::default()
        }),
        ..v1::MessageStatus::default()
    };
    (1..=5).map(letter).collect()
}
