//! All attacks, by name.

use tokio::task::JoinSet;

use super::{
    Attack, Ended, Kind, PAUSE, Prepare, Running, Target, again,
    amplified::{self, Full},
    answers,
    bodies::{self, Body, LARGEST},
    calling,
    calls::{CONSUME, CREATE_QUEUE, HEALTH, PUBLISH, PUBLISH_STREAM, SETTLE},
    control, handshakes, random,
};

/// The shortest interval at which each silent connection is opened again.
const SILENCE: std::time::Duration = std::time::Duration::from_millis(200);

/// Repeats an attack on each of some connections.
fn on_each<F>(
    target: Target,
    connections: usize,
    once: impl Fn(Target) -> F + Send + Sync + 'static,
) -> Running
where
    F: Future<Output = Result<(), Ended>> + Send + 'static,
{
    Box::pin(again(target, connections, PAUSE, move |target, _| once(target)))
}

/// Opens `each` silent connections from each of `hosts` hosts, and opens them again when they are closed.
pub fn silence(target: Target, hosts: usize, each: usize) -> Running {
    Box::pin(again(target, hosts * each, SILENCE, move |target, number| {
        handshakes::silent(target, number % hosts)
    }))
}

/// The concurrent handshakes for each connection that is asked for.
const HANDSHAKES: usize = 8;

const fn attack(kind: Kind, name: &'static str, run: fn(Target, usize) -> Running) -> Attack {
    Attack { name, kind, prepare: Prepare::Nothing, run }
}

const fn flood(name: &'static str, run: fn(Target, usize) -> Running) -> Attack {
    attack(Kind::Flood, name, run)
}

const fn hold(name: &'static str, run: fn(Target, usize) -> Running) -> Attack {
    attack(Kind::Hold, name, run)
}

const fn slot(name: &'static str, run: fn(Target, usize) -> Running) -> Attack {
    attack(Kind::Slots, name, run)
}

impl Attack {
    const fn prepared(self, prepare: Prepare) -> Self {
        Self { prepare, ..self }
    }
}

/// The size from which the HTTP library no longer counts a frame as small.
const SMALL: usize = 256;

/// Floods of frames and handshakes.
const FRAMES: &[Attack] = &[
    flood("ping", |t, n| on_each(t, n, control::ping)),
    flood("settings", |t, n| on_each(t, n, control::settings)),
    flood("window-update", |t, n| on_each(t, n, control::window_update)),
    flood("priority", |t, n| on_each(t, n, control::priority)),
    flood("idle-resets", |t, n| on_each(t, n, control::idle_resets)),
    flood("unknown-frames", |t, n| on_each(t, n, control::unknown)),
    flood("rapid-reset", |t, n| on_each(t, n, |t| control::rapid_reset(t, false))),
    flood("rapid-reset-token", |t, n| on_each(t, n, |t| control::rapid_reset(t, true))),
    flood("continuation", |t, n| on_each(t, n, |t| control::continuation(t, 4096))),
    flood("continuation-empty", |t, n| on_each(t, n, |t| control::continuation(t, 0))),
    flood("empty-data", |t, n| on_each(t, n, control::empty_data)),
    flood("padded-data", |t, n| on_each(t, n, control::padded)),
    flood("hpack-bomb", |t, n| on_each(t, n, control::hpack_bomb)),
    flood("random-frames", |t, n| Box::pin(again(t, n, PAUSE, random::frames))),
    flood("client-hello", |t, n| {
        Box::pin(again(t, n * HANDSHAKES, PAUSE, |t, number| {
            handshakes::client_hello(t, number % HANDSHAKES)
        }))
    }),
    flood("handshake-no-certificate", |t, n| on_each(t, n * HANDSHAKES, handshakes::stranger)),
    flood("handshake", |t, n| on_each(t, n * HANDSHAKES, handshakes::citizen)),
];

/// Floods of calls.
const CALLS: &[Attack] = &[
    flood("forged-eddsa", |t, n| on_each(t, n, |t| calling::forged(t, false, false))),
    flood("forged-ps256", |t, n| on_each(t, n, |t| calling::forged(t, true, false))),
    flood("forged-eddsa-health", |t, n| on_each(t, n, |t| calling::forged(t, false, true))),
    flood("forged-ps256-health", |t, n| on_each(t, n, |t| calling::forged(t, true, true))),
    flood("unknown-method", |t, n| on_each(t, n, calling::unknown_method)),
    flood("get-queue", |t, n| on_each(t, n, calling::get_queue)),
    flood("large-publishes-8", |t, _| Box::pin(calling::large_publishes(t, 8))),
    flood("large-publishes-32", |t, _| Box::pin(calling::large_publishes(t, 32))),
    flood("list-queues", |t, n| on_each(t, n, calling::list_queues)).prepared(Prepare::Queues(5_000)),
    flood("waiting-receives", |t, _| on_each(t, 20, calling::waiting)),
    flood("consumers", |t, n| on_each(t, n, calling::consumers)),
    flood("producer-sessions", |t, n| on_each(t, n, calling::producers)),
    flood("random-bodies", |t, n| Box::pin(again(t, n, PAUSE, random::bodies))),
];

/// Attacks that hold memory by requests.
const REQUESTS: &[Attack] = &[
    hold("health-bodies", |t, n| {
        on_each(t, n, |t| bodies::unfinished(t, Body { token: false, ..Body::less_one(HEALTH) }))
    }),
    hold("publish-bodies", |t, n| on_each(t, n, |t| bodies::unfinished(t, Body::less_one(PUBLISH)))),
    hold("publish-stream-bodies", |t, n| {
        on_each(t, n, |t| bodies::unfinished(t, Body::less_one(PUBLISH_STREAM)))
    }),
    hold("settle-bodies", |t, n| on_each(t, n, |t| bodies::unfinished(t, Body::less_one(SETTLE)))),
    hold("consume-bodies", |t, n| on_each(t, n, |t| bodies::unfinished(t, Body::less_one(CONSUME)))),
    hold("create-queue-bodies", |t, n| {
        on_each(t, n, |t| bodies::unfinished(t, Body::less_one(CREATE_QUEUE)))
    }),
    hold("declared", |t, n| {
        on_each(t, n, |t| bodies::unfinished(t, Body { bytes: 0, ..Body::less_one(PUBLISH) }))
    }),
    hold("dribbled", |t, n| {
        let body = Body { bytes: LARGEST - 4096, dribbles: true, ..Body::less_one(PUBLISH) };
        on_each(t, n, move |t| bodies::unfinished(t, body))
    }),
    hold("dribbled-stream", |t, n| {
        let body = Body { bytes: LARGEST - 4096, dribbles: true, ..Body::less_one(PUBLISH_STREAM) };
        on_each(t, n, move |t| bodies::unfinished(t, body))
    }),
    hold("unended", |t, n| on_each(t, n, bodies::unended)),
    hold("before-open", |t, n| on_each(t, n, bodies::before_open)),
    hold("large-headers", |t, n| on_each(t, n, bodies::large_headers)),
    hold("health-watches", |t, n| on_each(t, n, bodies::watches)),
    hold("tiny-data", |t, n| on_each(t, n, |t| amplified::small_data(t, 1))),
    hold("small-data", |t, n| on_each(t, n, |t| amplified::small_data(t, SMALL))),
    hold("empty-messages", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::Messages))),
    hold("empty-stream-messages", |t, n| {
        on_each(t, n, |t| amplified::empty_elements(t, Full::StreamMessages))
    }),
    hold("empty-settlements", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::Settlements))),
    hold("empty-stream-settlements", |t, n| {
        on_each(t, n, |t| amplified::empty_elements(t, Full::StreamSettlements))
    }),
    hold("empty-tokens", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::Tokens))),
    hold("empty-stream-tokens", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::StreamTokens))),
    hold("attributes", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::Attributes))),
    hold("repeated-batches", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::Frames))),
    hold("repeated-settlements", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::StreamFrames))),
    hold("nested", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::Nested))),
    hold("unknown-fields", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::Unknown))),
    hold("groups", |t, n| on_each(t, n, |t| amplified::empty_elements(t, Full::Groups))),
];

/// Attacks that hold memory by answers.
const ANSWERS: &[Attack] = &[
    hold("settle-errors-20", |t, n| on_each(t, n, |t| answers::settle_errors(t, 0, 20))),
    hold("settle-errors-100", |t, n| on_each(t, n, |t| answers::settle_errors(t, 0, 100))),
    hold("settle-errors-window-1", |t, n| on_each(t, n, |t| answers::settle_errors(t, 1, 20))),
    hold("publish-errors-20", |t, n| on_each(t, n, |t| answers::publish_errors(t, 0, 20))),
    hold("publish-errors-100", |t, n| on_each(t, n, |t| answers::publish_errors(t, 0, 100))),
    hold("receive-answers", |t, n| on_each(t, n, |t| answers::receives(t, 0)))
        .prepared(Prepare::Messages(96)),
    hold("receive-answers-window-1", |t, n| on_each(t, n, |t| answers::receives(t, 1)))
        .prepared(Prepare::Messages(96)),
    hold("queue-lists", |t, n| on_each(t, n, |t| answers::queues(t, 0))).prepared(Prepare::Queues(1_000)),
    hold("queue-lists-window-1", |t, n| on_each(t, n, |t| answers::queues(t, 1)))
        .prepared(Prepare::Queues(1_000)),
    hold("dead-letter-lists", |t, n| on_each(t, n, |t| answers::dead_letters(t, 0)))
        .prepared(Prepare::DeadLetters(1_000)),
    hold("dead-letter-lists-window-1", |t, n| on_each(t, n, |t| answers::dead_letters(t, 1)))
        .prepared(Prepare::DeadLetters(1_000)),
    hold("stalled-consumers", |t, n| on_each(t, n, |t| answers::stalled_consumers(t, 100)))
        .prepared(Prepare::Messages(96)),
    hold("pongs", |t, n| on_each(t, n, |t| answers::pongs(t, 100))),
    hold("health-answers", |t, n| on_each(t, n, answers::health)),
];

/// Attacks that hold connections.
const SLOTS: &[Attack] = &[
    slot("silent-one-host", |t, _| silence(t, 1, 500)),
    slot("silent-511-of-one-host", |t, _| silence(t, 1, 511)),
    slot("silent-40-hosts", |t, _| silence(t, 40, 480)),
    slot("idle-1500", |t, _| on_each(t, 1_500, |t| handshakes::idle(t, false))),
    slot("idle-1500-health", |t, _| on_each(t, 1_500, |t| handshakes::idle(t, true))),
];

/// All attacks.
pub fn all() -> impl Iterator<Item = &'static Attack> {
    [FRAMES, CALLS, REQUESTS, ANSWERS, SLOTS].into_iter().flatten()
}

/// The attack of this name.
pub fn named(name: &str) -> Option<&'static Attack> {
    all().find(|attack| attack.name == name)
}

/// Begins an attack in the background; it ends when the returned value is dropped.
pub fn begin(attack: &Attack, target: &Target, connections: usize) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn((attack.run)(target.clone(), connections));
    task
}
