//! Every method with every kind of credentials. The methods and their requests are read from the descriptors of the
//! services; who may call them, from the table in `docs/concepts.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use bytes::{Buf as _, BufMut as _, Bytes};
use posthouse_server::grants::Action;
use posthouse_tests::harness::{
    refusal::Refusal,
    scene::Scene,
    site::{CIVIL, TAXATION},
    tls,
    wire::Caller,
};
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, Value, prost::Message as _,
};
use rustls::{AlertDescription, version::TLS13};
use tonic::{
    Code, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// The code of an allowed call with the request that is made for it here.
const ALLOWED: &[(&str, Code)] = &[
    ("Publisher/Publish", Code::Ok),
    ("Publisher/PublishStream", Code::Ok),
    ("Consumer/Consume", Code::Ok),
    ("Consumer/Receive", Code::Ok),
    ("Consumer/Settle", Code::Ok),
    ("Consumer/ExtendLeases", Code::Ok),
    ("Queues/CreateQueue", Code::AlreadyExists),
    ("Queues/GetQueue", Code::Ok),
    ("Queues/ListQueues", Code::Ok),
    ("Queues/UpdateQueue", Code::Ok),
    ("Queues/DeleteQueue", Code::Ok),
    ("Queues/PurgeQueue", Code::Ok),
    ("Messages/FindMessage", Code::Ok),
    ("Messages/ListDeadLetters", Code::Ok),
    ("Messages/RedriveDeadLetters", Code::Ok),
    ("Health/Check", Code::Ok),
    ("Health/Watch", Code::Ok),
];

/// The values of requests' fields, by their names; deletions and the like are only checked.
struct Names {
    queue: String,
    department: String,
    message_id: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_answers_every_credential_as_the_table_says() {
    let scene = Scene::start().await;
    let queue = scene.plain_queue("applications").await;
    scene.publish(&queue, &["a"]).await;
    let held = scene.receive_one(&queue, posthouse_tests::harness::scene::LONG).await;
    let (department, _) = queue.split_once("/queues/").unwrap();
    let names = Names {
        queue: queue.clone(),
        department: department.to_owned(),
        message_id: held.message.unwrap().id,
    };
    let opened_by = documented();
    let stranger = Caller::connect(&scene.site, &scene.site.credentials(TAXATION)).await;
    let mut cases = 0;
    for method in methods() {
        let name = short(&method);
        let allowed = ALLOWED.iter().find(|(known, _)| *known == name);
        let &(_, allowed) = allowed.unwrap_or_else(|| panic!("{name} is not in this test's list: add it"));
        let opens = opened_by.get(method.name());
        let health = method.parent_service().name() == "Health";
        assert_eq!(opens.is_none(), health, "docs/concepts.md does not say what opens {name}, or too much");
        let request = filled(&method.input(), &names).encode_to_vec();

        let bare = tls::refusal(&scene.site, tls::config(&scene.site, &[&TLS13], None)).await;
        assert_eq!(bare, Ok(AlertDescription::CertificateRequired), "{name}");
        let mut expect = async |sort: &str, caller: &Caller, code, reason: &str| {
            let answer = call(caller, &method, &request).await;
            let found = answer
                .err()
                .map_or((Code::Ok, String::new()), |status| (status.code(), Refusal::from(&status).reason));
            let reason = if code == Code::AlreadyExists { "QUEUE_ALREADY_EXISTS" } else { reason };
            assert_eq!(found, (code, reason.to_owned()), "{name} with {sort}");
            cases += 1;
        };
        cases_of(&scene, &stranger, &names, opens, allowed, &method, &mut expect).await;
        cases += 1;
    }
    println!("{cases} cases of {} methods, all as expected", ALLOWED.len());
    assert_eq!(cases, ALLOWED.len() * (5 + Action::ALL.len() + Action::WITHOUT_EFFECT.len()));
}

/// All kinds but a missing certificate.
async fn cases_of(
    scene: &Scene,
    stranger: &Caller,
    names: &Names,
    opens: Option<&BTreeSet<String>>,
    allowed: Code,
    method: &MethodDescriptor,
    expect: &mut impl AsyncFnMut(&str, &Caller, Code, &str),
) {
    const MISSING: (Code, &str) = (Code::PermissionDenied, "GRANT_MISSING");
    let open = (allowed, "");
    let (code, reason) = if opens.is_some() { (Code::Unauthenticated, "TOKEN_MISSING") } else { open };
    expect("no token", &scene.caller.with_token(None), code, reason).await;
    let words = Action::ALL.iter().map(|action| action.as_str()).chain(Action::WITHOUT_EFFECT);
    for word in words {
        let may = opens.is_none_or(|actions| actions.contains(word));
        let (code, reason) = if may { open } else { MISSING };
        expect(word, &scene.scoped(&format!("posthouse:{word}:{CIVIL}/*/*")), code, reason).await;
    }
    let (code, reason) = if opens.is_some() { MISSING } else { open };
    expect("all rights of another tenant", stranger, code, reason).await;
    // A right on another queue of the department. A list shows what is granted, so it is allowed.
    let elsewhere = Action::ALL.map(|action| format!("posthouse:{action}:{CIVIL}/*/other"));
    let (code, reason) = if method.name() == "ListQueues" { open } else { (code, reason) };
    expect("all rights on another queue", &scene.scoped(&elsewhere.join(" ")), code, reason).await;
    let own = Action::ALL.map(|action| {
        let queue = names.queue.rsplit('/').next().unwrap();
        format!("posthouse:{action}:{CIVIL}/household-registry/{queue}")
    });
    expect("all rights on the queue", &scene.scoped(&own.join(" ")), open.0, open.1).await;
}

/// The methods of this server's services.
fn methods() -> Vec<MethodDescriptor> {
    let mut methods = Vec::new();
    for descriptors in [posthouse_proto::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET] {
        let pool = DescriptorPool::decode(descriptors).unwrap();
        methods.extend(pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()));
    }
    assert!(methods.len() >= 17, "{methods:?}");
    methods
}

fn short(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().name(), method.name())
}

/// The actions that open each call on the resource that its request names, according to the page.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/concepts.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("| call |").unwrap();
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let cells: Vec<_> = row.split('|').collect();
        let actions: BTreeSet<_> = quoted(cells[2]).into_iter().collect();
        quoted(cells[1]).into_iter().map(move |call| (call, actions.clone()))
    })
    .collect()
}

/// A request with every field that names something, and the other required fields.
fn filled(descriptor: &MessageDescriptor, names: &Names) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let value = match (field.name(), field.kind()) {
            ("queue" | "name", Kind::String) => Value::String(names.queue.clone()),
            ("parent", Kind::String) => Value::String(names.department.clone()),
            ("message_id", Kind::String) => Value::String(names.message_id.clone()),
            ("paths", Kind::String) => Value::List(vec![Value::String("max_message_bytes".to_owned())]),
            ("validate_only", Kind::Bool) => Value::Bool(true),
            ("protocol_version" | "max_messages", Kind::Uint32) => Value::U32(1),
            ("seconds", Kind::Int64) => Value::I64(30),
            ("action", Kind::Enum(_)) => Value::EnumNumber(1),
            ("session_id", Kind::Bytes) => Value::Bytes(Bytes::from_static(&[7; 16])),
            ("token", Kind::Bytes) => Value::Bytes(Bytes::from_static(&[7; 20])),
            ("tokens", Kind::Bytes) => Value::List(vec![Value::Bytes(Bytes::from_static(&[7; 20]))]),
            ("messages" | "settlements", Kind::Message(inner)) => {
                Value::List(vec![Value::Message(filled(&inner, names))])
            }
            ("open" | "queue" | "update_mask" | "lease_duration", Kind::Message(inner)) => {
                Value::Message(filled(&inner, names))
            }
            _ => continue,
        };
        message.set_field(&field, value);
    }
    message
}

/// Calls a method with one frame and returns how it ends; a stream that goes on is dropped after its first answer.
async fn call(caller: &Caller, method: &MethodDescriptor, request: &[u8]) -> Result<(), Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let mut client = Grpc::new(caller.channel());
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let frames = tokio_stream::iter([Bytes::copy_from_slice(request)]);
    let answer = client.streaming(caller.request(frames), path.parse().unwrap(), Plain).await?;
    let mut answers = answer.into_inner();
    while answers.message().await?.is_some() {
        if method.is_server_streaming() && !method.is_client_streaming() {
            break;
        }
    }
    Ok(())
}

/// A codec that passes bytes through.
#[derive(Clone, Copy)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
