use posthouse_engine::{
    ids::{DepartmentId, LeaseId, QueueId},
    outcome::GrantedItem,
};
use posthouse_proto::v1::{ConsumeResponse, consume_response::Frame};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

prop_compose! {
    fn leased_message()(
        (department, queue, lease, nonce) in any::<(u32, u32, u64, u64)>(),
        (index, sequence, attempt) in (any::<u32>(), small_u64(), small_u64()),
        (deadline_ms, published_wall_ms, resumed) in (time(), time(), any::<bool>()),
        attributes in prop::collection::btree_map(".{0,10}", ".{0,10}", 0..4),
        dead in prop::option::of(".{0,10}"),
        payload in prop::collection::vec(any::<u8>(), 0..300),
    ) -> LeasedMessage {
        let item = GrantedItem { index, sequence, attempt: attempt as u32 };
        let dead_letter = |source_queue| Box::new(DeadLetter { source_queue, ..DeadLetter::default() });
        LeasedMessage {
            queue: QueueRef { department: DepartmentId(department), queue: QueueId(queue) },
            live: LiveDelivery { lease: LeaseId(lease), nonce, deadline_ms, item },
            resumed,
            published_at_ms: 0,
            published_wall_ms,
            dead_letter: dead.map(dead_letter),
            attributes,
            payload: payload.into(),
        }
    }
}

/// Often the same time.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(7_001), small_u64()]
}

fn small_u64() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..300_u64, any::<u32>().prop_map(u64::from), any::<u64>()]
}

proptest! {
    #[test]
    fn who_decodes_a_frame_finds_the_deliveries(
        messages in prop::collection::vec(leased_message(), 0..5),
        (stamp_ms, wall_ms) in (time(), time()),
    ) {
        let now = Now::at(stamp_ms, wall_ms);
        for one in &messages {
            let mut head = Vec::new();
            one.put_head(&mut Times::at(now), &mut head);
            prop_assert_eq!(head.len() + one.payload.len(), field_len(DELIVERIES, one.encoded_len(now)));
        }
        let lengths: Vec<_> = messages.iter().map(|one| one.encoded_len(now)).collect();
        let frame = ConsumeResponse { frame: Some(Frame::Deliveries(batch(messages.clone(), now))) };
        let expected: Vec<_> = messages.into_iter().map(|one| one.into_delivery(now)).collect();
        prop_assert_eq!(lengths, expected.iter().map(prost::Message::encoded_len).collect::<Vec<_>>());
        let bytes = frame.encode_to_vec();
        prop_assert_eq!(bytes.len(), frame.encoded_len());
        let found = ConsumeResponse::decode(&bytes[..]).unwrap();
        let Some(Frame::Deliveries(found)) = found.frame else { panic!("{found:?}") };
        prop_assert_eq!(found, DeliveryBatch { deliveries: expected, ..DeliveryBatch::default() });
    }
}
