//! Random requests: mostly well-formed, with values at and beyond every limit; then some of their bytes are changed.

use std::collections::HashMap;

use base64::Engine as _;
use bytes::Bytes;
use posthouse_proto::v1::{self, consume_request, publish_stream_request};
use posthouse_tests::harness::scene::queue_name;
use prost::Message;
use prost_types::{Duration, FieldMask};
use rand::{RngExt, rngs::StdRng};

/// Makes the bytes of a request; some tokens of deliveries are at hand.
pub type Make = fn(&mut StdRng, &[Bytes]) -> Bytes;

/// The queue that most requests name.
pub fn victim() -> String {
    queue_name("victim")
}

/// Every unary method.
pub const METHODS: &[(&str, Make)] = &[
    ("/posthouse.v1.Publisher/Publish", publish),
    ("/posthouse.v1.Consumer/Receive", receive),
    ("/posthouse.v1.Consumer/Settle", settle),
    ("/posthouse.v1.Consumer/ExtendLeases", extend),
    ("/posthouse.v1.Queues/CreateQueue", create),
    ("/posthouse.v1.Queues/GetQueue", get),
    ("/posthouse.v1.Queues/ListQueues", list),
    ("/posthouse.v1.Queues/UpdateQueue", update),
    ("/posthouse.v1.Queues/DeleteQueue", delete),
    ("/posthouse.v1.Queues/PurgeQueue", purge),
    ("/posthouse.v1.Messages/FindMessage", find),
    ("/posthouse.v1.Messages/ListDeadLetters", list_dead_letters),
    ("/posthouse.v1.Messages/RedriveDeadLetters", redrive),
];

/// Every stream: its path, its first frame, its other frames.
pub const STREAMS: &[(&str, Make, Make)] = &[
    ("/posthouse.v1.Publisher/PublishStream", open_publish, publish_frame),
    ("/posthouse.v1.Consumer/Consume", open_consume, consume_frame),
];

/// Mostly returns the bytes; else some are changed, cut off or inserted, or all are random.
pub fn spoil(random: &mut StdRng, bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    match random.random_range(0..10) {
        0 => bytes = some_bytes(random, 300),
        1 => bytes.truncate(random.random_range(0..=bytes.len())),
        2 => {
            let at = random.random_range(0..=bytes.len());
            let more = some_bytes(random, 20);
            bytes.splice(at..at, more);
        }
        3 | 4 if !bytes.is_empty() => {
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..bytes.len());
                bytes[at] ^= 1 << random.random_range(0..8);
            }
        }
        _ => {}
    }
    bytes.into()
}

fn some_bytes(random: &mut StdRng, max: usize) -> Vec<u8> {
    (0..random.random_range(0..=max)).map(|_| random.random()).collect()
}

fn pick<T: Clone>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())].clone()
}

fn some_text(random: &mut StdRng) -> String {
    String::from_utf8_lossy(&some_bytes(random, 40)).into_owned()
}

fn name(random: &mut StdRng) -> String {
    match random.random_range(0..12) {
        0 => some_text(random),
        1 => queue_name(&some_text(random)),
        2 => queue_name("missing"),
        3 => victim().replace("civil-affairs", "taxation"),
        4 => pick(random, &[String::new(), "q".repeat(70_000), victim() + "/", queue_name("q\n")]),
        _ => victim(),
    }
}

fn number(random: &mut StdRng) -> u64 {
    let edges = [0, 1, 2, 16, 1_024, 1_025, 100_000, 100_001, 1 << 30, (1 << 30) + 1, u64::MAX - 1, u64::MAX];
    if random.random_bool(0.3) { random.random() } else { pick(random, &edges) }
}

fn small(random: &mut StdRng) -> u32 {
    u32::try_from(number(random) & u64::from(u32::MAX)).unwrap()
}

/// Never a long wait, which the test would have to wait for.
fn duration(random: &mut StdRng, longest: i64) -> Option<Duration> {
    let seconds = pick(random, &[0, 1, longest, -1, i64::MAX, i64::MIN, longest + 1]);
    let nanos = pick(random, &[0, 0, 0, 1, 20_000_000, 999_999_999, 1_000_000_000, -1, i32::MIN]);
    random.random_bool(0.7).then_some(Duration { seconds, nanos })
}

fn message(random: &mut StdRng) -> v1::NewMessage {
    let mut attributes = HashMap::new();
    for _ in 0..pick(random, &[0, 0, 1, 2, 70]) {
        let key = if random.random_bool(0.1) { "k".repeat(200) } else { some_text(random) };
        attributes.insert(key, some_text(random));
    }
    let large = random.random_ratio(1, 200);
    let payload = if large { vec![0; (1 << 20) + 1] } else { some_bytes(random, 100) };
    v1::NewMessage { payload: payload.into(), attributes }
}

fn messages(random: &mut StdRng) -> Vec<v1::NewMessage> {
    if random.random_ratio(1, 50) {
        return vec![v1::NewMessage::default(); 1_025];
    }
    (0..random.random_range(0..6)).map(|_| message(random)).collect()
}

fn id(random: &mut StdRng) -> Bytes {
    let length = pick(random, &[16, 16, 16, 16, 0, 15, 17]);
    vec![random.random_range(0..3); length].into()
}

fn epoch(random: &mut StdRng) -> u64 {
    pick(random, &[0, 1, 1, 1, 2, 3, u64::MAX])
}

fn publish(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let session = |random: &mut StdRng| v1::ProducerSession {
        producer_id: id(random),
        epoch: epoch(random),
        first_sequence: number(random),
    };
    let producer = random.random_bool(0.4).then(|| session(random));
    let atomic = random.random();
    encode(&v1::PublishRequest { queue: name(random), messages: messages(random), producer, atomic })
}

fn subscription(random: &mut StdRng) -> String {
    match random.random_range(0..10) {
        0 => some_text(random),
        1 => "audit".to_owned(),
        2 => "default".to_owned(),
        _ => String::new(),
    }
}

fn receive(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let wait = duration(random, 0).filter(|wait| wait.seconds < 1 || wait.seconds > 20);
    encode(&v1::ReceiveRequest {
        queue: name(random),
        subscription: subscription(random),
        max_messages: small(random),
        max_bytes: number(random),
        wait,
        lease_duration: duration(random, 12 * 3600),
    })
}

fn token(random: &mut StdRng, tokens: &[Bytes]) -> Bytes {
    if random.random_bool(0.3) { some_bytes(random, 30).into() } else { pick(random, tokens) }
}

fn settlements(random: &mut StdRng, tokens: &[Bytes]) -> Vec<v1::Settlement> {
    let count = pick(random, &[0, 1, 2, 5, 1_025]);
    let settlement = |random: &mut StdRng| v1::Settlement {
        token: token(random, tokens),
        action: random.random_range(-1..7),
        delay: duration(random, 30 * 24 * 3600),
    };
    (0..count).map(|_| settlement(random)).collect()
}

fn settle(random: &mut StdRng, tokens: &[Bytes]) -> Bytes {
    let settlements = settlements(random, tokens);
    encode(&v1::SettleRequest { queue: name(random), subscription: subscription(random), settlements })
}

fn extend(random: &mut StdRng, tokens: &[Bytes]) -> Bytes {
    encode(&v1::ExtendLeasesRequest {
        queue: name(random),
        subscription: subscription(random),
        tokens: (0..pick(random, &[0, 1, 3, 1_025])).map(|_| token(random, tokens)).collect(),
        lease_duration: duration(random, 12 * 3600),
    })
}

fn queue(random: &mut StdRng) -> Option<v1::Queue> {
    let settings = v1::SubscriptionSettings {
        lease_duration: duration(random, 12 * 3600),
        max_attempts: small(random),
        dead_letter_queue: if random.random_bool(0.5) { String::new() } else { name(random) },
    };
    let queue = v1::Queue {
        name: name(random),
        etag: if random.random_bool(0.8) { String::new() } else { some_text(random) },
        max_message_bytes: small(random),
        default_subscription: random.random_bool(0.8).then_some(settings),
        ..v1::Queue::default()
    };
    random.random_bool(0.95).then_some(queue)
}

fn request_id(random: &mut StdRng) -> String {
    pick(random, &[String::new(), "id".to_owned(), "x".repeat(65)])
}

fn create(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let (queue, request_id, validate_only) = (queue(random), request_id(random), random.random());
    encode(&v1::CreateQueueRequest { queue, request_id, validate_only })
}

fn get(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    encode(&v1::GetQueueRequest { name: name(random) })
}

fn list(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let parent = name(random).replace("/queues/victim", "");
    encode(&v1::ListQueuesRequest { parent, page_size: random.random(), page_token: some_text(random) })
}

fn update(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let known = ["max_message_bytes", "default_subscription", "default_subscription.max_attempts", "*", ""];
    let paths = (0..random.random_range(0..3)).map(|_| pick(random, &known).to_owned()).collect();
    let update_mask = random.random_bool(0.9).then_some(FieldMask { paths });
    let (queue, request_id, validate_only) = (queue(random), request_id(random), random.random());
    encode(&v1::UpdateQueueRequest { queue, update_mask, request_id, validate_only })
}

fn delete(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let etag = if random.random_bool(0.2) { String::new() } else { some_text(random) };
    let (name, request_id, validate_only) = (name(random), request_id(random), random.random());
    encode(&v1::DeleteQueueRequest { name, etag, request_id, validate_only })
}

fn purge(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let (name, request_id, validate_only) = (name(random), request_id(random), random.random());
    encode(&v1::PurgeQueueRequest { name, request_id, validate_only })
}

/// Laid out as the server does it, and mostly of a queue that may exist.
fn message_id(random: &mut StdRng) -> String {
    if random.random_bool(0.2) {
        return some_text(random);
    }
    let (near, max) = (random.random_bool(0.7), u64::from(u32::MAX));
    let mut part = |below: u64| if near { random.random_range(0..below) } else { number(random) };
    let (department, queue, sequence) = (part(5) & max, part(9) & max, part(200));
    let lane = u8::from(random.random_ratio(1, 20));
    let mut id = (department << 32 | queue).to_be_bytes().to_vec();
    id.push(lane);
    id.extend(sequence.to_be_bytes());
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(id)
}

fn page_token(random: &mut StdRng) -> String {
    match random.random_range(0..5) {
        0 => some_text(random),
        1 => base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(number(random).to_be_bytes()),
        2 => {
            let queue = random.random_range(0..5_u64) << 32 | random.random_range(0..9);
            let cursor = [&[1][..], &queue.to_be_bytes(), &number(random).to_be_bytes()].concat();
            base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(cursor)
        }
        _ => String::new(),
    }
}

fn find(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    encode(&v1::FindMessageRequest { message_id: message_id(random), subscription: subscription(random) })
}

fn list_dead_letters(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let source = if random.random_bool(0.7) { String::new() } else { message_id(random) };
    encode(&v1::ListDeadLettersRequest {
        queue: name(random),
        page_size: pick(random, &[0, 0, 1, 1_000, 1_001, -1, i32::MIN, i32::MAX]),
        page_token: page_token(random),
        source_message_id: source,
    })
}

fn redrive(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let count = pick(random, &[0, 0, 0, 1, 3, 1_001]);
    encode(&v1::RedriveDeadLettersRequest {
        queue: name(random),
        message_ids: (0..count).map(|_| message_id(random)).collect(),
        max_messages: pick(random, &[0, 0, 1, 1_000, 1_001, u32::MAX]),
        target_queue: if random.random_bool(0.6) { String::new() } else { name(random) },
        request_id: request_id(random),
        page_token: page_token(random),
    })
}

fn version(random: &mut StdRng) -> u32 {
    pick(random, &[1, 1, 1, 1, 1, 1, 0, 2])
}

fn open_publish(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let session = |random: &mut StdRng| publish_stream_request::Producer {
        producer_id: id(random),
        epoch: epoch(random),
    };
    let open = publish_stream_request::Open {
        protocol_version: version(random),
        queue: name(random),
        producer: random.random_bool(0.5).then(|| session(random)),
        tell_message_ids: random.random(),
    };
    let frame = Some(publish_stream_request::Frame::Open(open));
    encode(&v1::PublishStreamRequest { frame })
}

fn publish_frame(random: &mut StdRng, tokens: &[Bytes]) -> Bytes {
    use publish_stream_request::{Batch, Frame};
    let frame = match random.random_range(0..12) {
        0 => return open_publish(random, tokens),
        1 => None,
        2 => Some(Frame::RefreshToken(v1::RefreshToken { token: some_text(random) })),
        _ => Some(Frame::Batch(Batch {
            batch_id: random.random(),
            messages: messages(random),
            first_sequence: number(random),
            atomic: random.random(),
        })),
    };
    encode(&v1::PublishStreamRequest { frame })
}

fn credit(random: &mut StdRng) -> v1::Credit {
    let modest = random.random_bool(0.7);
    let messages = if modest { random.random_range(0..10) } else { small(random) };
    v1::Credit { messages, bytes: if modest { random.random_range(0..1_000) } else { number(random) } }
}

fn open_consume(random: &mut StdRng, _: &[Bytes]) -> Bytes {
    let open = v1::OpenConsume {
        protocol_version: version(random),
        queue: name(random),
        subscription: subscription(random),
        session_id: id(random),
        lease_duration: duration(random, 12 * 3600),
        credit: random.random_bool(0.8).then(|| credit(random)),
    };
    encode(&v1::ConsumeRequest { frame: Some(consume_request::Frame::Open(open)) })
}

fn consume_frame(random: &mut StdRng, tokens: &[Bytes]) -> Bytes {
    use consume_request::Frame;
    let frame = match random.random_range(0..12) {
        0 => return open_consume(random, tokens),
        1 => None,
        2 => Some(Frame::RefreshToken(v1::RefreshToken { token: some_text(random) })),
        3 => Some(Frame::Ping(v1::Ping { ping_id: random.random() })),
        4..=6 => Some(Frame::Credit(credit(random))),
        7 | 8 => Some(Frame::Extend(v1::ExtendFrame {
            extend_id: random.random(),
            tokens: (0..pick(random, &[0, 1, 3, 1_025])).map(|_| token(random, tokens)).collect(),
            lease_duration: duration(random, 12 * 3600),
        })),
        _ => {
            let settlements = settlements(random, tokens);
            Some(Frame::Settle(v1::SettleFrame { settle_id: random.random(), settlements }))
        }
    };
    encode(&v1::ConsumeRequest { frame })
}

fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}
