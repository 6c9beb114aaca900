use std::time::{Duration, Instant};

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Frames after their preface.
fn begun() -> (Frames, Instant) {
    let now = Instant::now();
    let mut frames = Frames::new(now);
    assert_eq!(frames.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now), Ok(0));
    (frames, now)
}

/// How many of these frames are accepted at once, and the kind that is then refused.
fn until_flood(frame: &[u8]) -> (usize, &'static str) {
    let (mut frames, now) = begun();
    for count in 0..1_000_000 {
        if let Err(Flood(kind)) = frames.read(frame, now) {
            return (count, kind);
        }
    }
    (usize::MAX, "none")
}

#[test]
fn floods_of_each_kind_end() {
    let allowed = usize::try_from(CONTROL_FRAMES_ALLOWED).unwrap();
    for (flood, kind) in [
        (frame(6, 0, 0, &[0; 8]), "ping"),
        (frame(6, ACK, 0, &[0; 8]), "ping"),
        (frame(4, 0, 0, &[]), "settings"),
        (frame(4, ACK, 0, &[]), "settings"),
        (frame(8, 0, 0, &[0, 0, 0, 1]), "window_update"),
        (frame(8, 0, 1, &[0, 0, 0, 1]), "window_update"),
        (frame(2, 0, 1, &[0; 5]), "priority"),
        (frame(3, 0, 1, &[0; 4]), "reset"),
        (frame(9, 0, 1, &[]), "continuation"),
        (frame(9, 0, 1, &[7; 200]), "continuation"),
        (frame(0, 0, 1, &[]), "empty_data"),
        (frame(0, PADDED, 1, &[7; 200]), "padded_data"),
        (frame(99, 0, 1, &[7; 200]), "other"),
        (frame(7, 0, 0, &[0; 8]), "other"),
    ] {
        let (count, text) = until_flood(&flood);
        assert!(count <= allowed && text == kind, "{kind}: {count}, {text}");
    }
    let (count, kind) = until_flood(&frame(0, 0, 1, &[7]));
    assert!(count < 8 * allowed && kind == "small_data", "{count}, {kind}");
    // The same call repeatedly.
    let (count, kind) = until_flood(&frame(1, 4, 1, &[0x82]));
    assert!(count <= allowed + 3 && kind == "headers", "{count}, {kind}");
}

#[test]
fn calls_that_are_given_up_at_once_end_the_connection() {
    let (mut frames, now) = begun();
    let flooded = (0..10_000).find(|call| {
        let stream = call * 2 + 1;
        let call = [frame(1, 5, stream, &[0x82; 50]), frame(3, 0, stream, &[0; 4])].concat();
        frames.read(&call, now).is_err()
    });
    assert!(flooded.is_some_and(|call| call > 1_000), "{flooded:?}");
}

#[test]
fn what_data_pays_for_goes_on_for_ever() {
    let ping = frame(6, 0, 0, &[0; 8]);
    let update = frame(8, 0, 1, &[0, 0, 0, 1]);
    let (mut frames, now) = begun();
    // A consumer at full rate, whose client updates two windows and pings for each small delivery.
    for _ in 0..1_000_000 {
        frames.wrote(350);
        assert_eq!(frames.read(&[&update[..], &update, &ping].concat(), now), Ok(0));
    }
    // A producer at full rate, whose client pings for each small message.
    for _ in 0..1_000_000 {
        assert_eq!(frames.read(&[frame(0, 0, 1, &[7; 150]), ping.clone()].concat(), now), Ok(1));
    }
    // Many small calls: each ends with empty data, and is answered; its client updates the windows, and resets the
    // stream.
    for call in 0..1_000_000_u32 {
        let stream = 2 * call + 1;
        let call = [
            frame(1, 4, stream, &[0x82; 60]),
            frame(0, 0, stream, &[7; 40]),
            frame(0, END_STREAM, stream, &[]),
            frame(8, 0, stream, &[0, 0, 0, 1]),
            frame(3, 0, stream, &[0; 4]),
        ];
        frames.wrote(180);
        assert_eq!(frames.read(&call.concat(), now), Ok(1));
    }
    // Nobody saves up for a flood without end.
    frames.wrote(1 << 30);
    let saved = usize::try_from(CONTROL_FRAMES_SAVED).unwrap();
    assert!((0..=saved).any(|_| frames.read(&ping, now).is_err()));
}

#[test]
fn time_pays_for_an_idle_client_and_for_no_flood() {
    let (mut frames, mut now) = begun();
    let ping = frame(6, 0, 0, &[0; 8]);
    for _ in 0..100_000 {
        now += Duration::from_millis(10);
        assert_eq!(frames.read(&ping, now), Ok(0));
    }
    now += Duration::from_secs(1 << 20);
    let allowed = usize::try_from(CONTROL_FRAMES_ALLOWED).unwrap();
    assert!((0..=allowed).any(|_| frames.read(&ping, now).is_err()));
}

#[test]
fn frames_may_be_cut_anywhere() {
    let all = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[0; 12]),
        frame(1, 4, 1, &[0x82; 300]),
        frame(0, 0, 1, &[6; 70_000]),
        frame(6, 0, 0, &[0; 8]),
        frame(0, 0, 1, &[6; 1]),
        frame(0, END_STREAM, 1, &[6; 255]),
    ]
    .concat();
    let now = Instant::now();
    let mut whole = Frames::new(now);
    assert_eq!(whole.read(&all, now), Ok(2));
    for size in [1, 2, 7, 9, 10, 4096, 16 << 10] {
        let mut frames = Frames::new(now);
        let small: usize = all.chunks(size).map(|part| frames.read(part, now).unwrap()).sum();
        assert_eq!((small, frames.least(), frames.left()), (2, whole.least(), 0), "in parts of {size}");
        assert_eq!(frames.balance.bytes, whole.balance.bytes);
    }
}
