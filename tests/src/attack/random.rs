//! Random frames, and calls of every method with random bodies.

use posthouse_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use rand::RngExt as _;

use super::{
    Ended,
    calling::{noise, random},
    calls::{Head, prefixed},
    line::Line,
    target::Target,
};
use crate::harness::frames::{PING, PRIORITY, SETTINGS, data, frame, window};

/// The frames of one write.
const FRAMES: usize = 8;
/// The calls of one connection that wait for their answers.
const WAITING: u64 = 100;

/// Sends frames of random types, flags, streams and payloads after correct ones, on a connection with a call.
pub(super) async fn frames(target: Target, number: usize) -> Result<(), Ended> {
    let mut random = random(&target, number);
    let line = Line::open(&target).await?;
    let call = line.begin(&Head::of(&target, super::calls::PUBLISH), false).await?;
    loop {
        let mut bytes = Vec::new();
        for _ in 0..FRAMES {
            bytes.extend(match random.random_range(0..64) {
                0..20 => frame(PING, 0, 0, &random.random::<[u8; 8]>()),
                20..30 => {
                    frame(PRIORITY, 0, 1 + 2 * random.random_range(1..99), &[0, 0, 0, 0, random.random()])
                }
                30..40 => window(0, random.random_range(1..9)),
                40..50 => frame(SETTINGS, 0, 0, &[]),
                50..60 => data(call, &noise(&mut random, 40), false),
                60..62 => frame(random.random_range(10..=255), random.random(), 0, &noise(&mut random, 40)),
                _ => {
                    let stream = random.random_range(0..6_u32);
                    frame(random.random_range(0..10), random.random(), stream, &noise(&mut random, 40))
                }
            });
        }
        line.send(&bytes).await?;
        target.tally.add(FRAMES as u64);
    }
}

/// The paths of all methods.
pub(super) fn methods() -> Vec<String> {
    let mut methods = Vec::new();
    for file in FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file {
        for service in &file.service {
            let names = service.method.iter().map(|method| method.name());
            methods.extend(names.map(|method| format!("/{}.{}/{method}", file.package(), service.name())));
        }
    }
    methods
}

/// Makes calls whose bodies are random bytes of random lengths, with a right or a wrong declared length.
pub(super) async fn bodies(target: Target, number: usize) -> Result<(), Ended> {
    let mut random = random(&target, number);
    let line = Line::open(&target).await?;
    let methods = methods();
    let mut begun: u64 = 0;
    loop {
        let head = Head::of(&target, &methods[random.random_range(0..methods.len())]);
        let id = line.begin(&head, false).await?;
        let mut body = prefixed(&noise(&mut random, 600));
        if random.random_ratio(1, 4) {
            body[4] = random.random();
        }
        line.send(&data(id, &body, true)).await?;
        begun += 1;
        target.tally.add(1);
        line.until_ended(begun.saturating_sub(WAITING)).await?;
    }
}
