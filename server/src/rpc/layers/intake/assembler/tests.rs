mod capacity;

use std::{collections::VecDeque, future::poll_fn, time::Duration};

use futures_util::FutureExt as _;
use hyper::body::Frame;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::{
    account::{Accounts, ConnectionAccounts, Counters},
    limits::BODY_IDLE,
    rpc::layers::intake::assembler::*,
};

/// A body in pieces, as the network may split it; `None` is a pause. Behind the pieces it ends or stays open.
struct Cut {
    pieces: VecDeque<Option<Bytes>>,
    ends: bool,
}

impl Body for Cut {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.pieces.pop_front() {
            Some(Some(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Some(None) => Poll::Pending,
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ends && self.pieces.is_empty()
    }
}

fn encoded(lengths: &[usize]) -> Vec<u8> {
    let message = |length: &usize| {
        let prefix = u32::try_from(*length).unwrap().to_be_bytes();
        [&[0], &prefix[..], &vec![u8::try_from(length % 251).unwrap(); *length]].concat()
    };
    lengths.iter().flat_map(message).collect()
}

fn accounts() -> ConnectionAccounts {
    Accounts::new(Counters::for_tests()).open(None)
}

const TERMS: Terms = Terms { max_bytes: 4 << 20, wanted: Wanted::Request, open: true };

fn assembler(pieces: Vec<Option<Bytes>>, ends: bool, terms: Terms) -> (Assembler<Cut>, ConnectionAccounts) {
    let accounts = accounts();
    let body = Received::for_tests(Cut { pieces: pieces.into(), ends });
    (Assembler::new(body, accounts.requests.clone(), accounts.counters.clone(), terms), accounts)
}

async fn next(assembler: &mut Assembler<Cut>) -> Result<Option<(Bytes, Charge)>, RequestFault> {
    poll_fn(|context| assembler.poll_next(context)).await
}

fn data(bytes: &[u8]) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(bytes))
}

#[tokio::test]
async fn bytes_are_charged_when_they_come_and_never_when_they_are_declared() {
    // The prefix declares a megabyte, and three bytes of it arrive.
    let pieces = vec![data(&[0, 0, 16, 0, 0]), data(&[1, 2, 3]), None];
    let (mut body, accounts) = assembler(pieces, false, TERMS);
    assert!(next(&mut body).now_or_never().is_none());
    assert_eq!(accounts.requests.held(), 8);
    assert!(body.message.capacity() <= FIRST_CAPACITY_BYTES);
    drop(body);
    assert_eq!(accounts.requests.held(), 0);
}

#[tokio::test]
async fn a_message_takes_its_charge_along_and_the_rest_stays() {
    let bytes = encoded(&[10, 20]);
    let (mut body, accounts) = assembler(vec![data(&bytes[..25])], false, TERMS);
    let (message, charge) = next(&mut body).await.unwrap().unwrap();
    assert_eq!((message.len(), charge.bytes(), accounts.requests.held()), (10, 15, 25));
    drop(charge);
    assert!(next(&mut body).now_or_never().is_none());
    assert_eq!(accounts.requests.held(), 10);
}

#[tokio::test]
async fn what_is_no_message_is_told_apart() {
    let fault =
        async |bytes: &[u8]| next(&mut assembler(vec![data(bytes)], true, TERMS).0).await.unwrap_err();
    assert_eq!(fault(&[0, 0, 64, 0, 1]).await, RequestFault::TooLarge(4 << 20));
    assert_eq!(fault(&[1, 0, 0, 0, 1, 7]).await, RequestFault::Compressed);
    assert_eq!(fault(&[0, 0, 0, 0, 2, 7]).await, RequestFault::BrokenOff);
    assert_eq!(fault(&[0]).await, RequestFault::BrokenOff);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_pauses_or_dribbles_ends_and_a_stream_may_pause_between_messages() {
    let begun = Instant::now();
    let (mut body, _) = assembler(vec![data(&encoded(&[3])), data(&[0])], false, TERMS);
    assert!(next(&mut body).await.unwrap().is_some());
    assert_eq!(next(&mut body).await.unwrap_err(), RequestFault::TooSlow);
    assert_eq!(begun.elapsed().as_secs(), BODY_IDLE.as_secs());
    let (mut body, _) = assembler(vec![data(&encoded(&[3]))], false, TERMS);
    assert!(next(&mut body).await.unwrap().is_some());
    assert!(tokio::time::timeout(Duration::from_secs(3_600), next(&mut body)).await.is_err());
    // The message of a unary call must arrive at once.
    let (mut body, _) = assembler(vec![], false, Terms { open: false, ..TERMS });
    let begun = Instant::now();
    assert_eq!(next(&mut body).await.unwrap_err(), RequestFault::TooSlow);
    assert_eq!(begun.elapsed().as_secs(), BODY_IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_a_byte_at_a_time_has_an_end_that_goes_by_its_length() {
    // Of 128 KiB, one byte arrives every nine seconds.
    let (sender, bytes) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while sender.send(7).is_ok() {
            tokio::time::sleep(Duration::from_secs(9)).await;
        }
    });
    struct Dribble(tokio::sync::mpsc::UnboundedReceiver<u8>);
    impl Body for Dribble {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0
                .poll_recv(context)
                .map(|byte| byte.map(|byte| Ok(Frame::data(Bytes::copy_from_slice(&[byte])))))
        }
    }
    let begun = Instant::now();
    let accounts = accounts();
    let mut body = Assembler::new(
        Received::for_tests(Dribble(bytes)),
        accounts.requests,
        accounts.counters,
        Terms { open: false, ..TERMS },
    );
    body.rest = Bytes::from_static(&[0, 0, 2, 0, 0]);
    let fault = poll_fn(|context| body.poll_next(context)).await.unwrap_err();
    assert_eq!((fault, begun.elapsed().as_secs()), (RequestFault::TooSlow, 32));
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_read_of_a_request_that_is_whole() {
    let whole = encoded(&[3]);
    let unary = Terms { open: false, ..TERMS };
    // The first byte of another message arrives at once or later.
    for pieces in [vec![data(&[&whole[..], &[0]].concat())], vec![data(&whole), data(&[0])]] {
        let (mut body, accounts) = assembler(pieces, false, unary);
        let message = next(&mut body).await.unwrap().unwrap();
        assert_eq!(next(&mut body).await.unwrap_err(), RequestFault::TooMany);
        drop((message, body));
        assert_eq!(accounts.requests.held(), 0);
    }
}

#[test]
fn others_have_their_turn_between_many_small_messages() {
    let bytes = encoded(&[0; 10_000]);
    let (mut body, _) = assembler(vec![data(&bytes)], true, TERMS);
    let (mut messages, mut pauses) = (0, 0);
    loop {
        match next(&mut body).now_or_never() {
            None => pauses += 1,
            Some(Ok(Some(_))) => messages += 1,
            Some(ended) => break assert!(ended.unwrap().is_none()),
        }
    }
    assert_eq!((messages, pauses), (10_000, 10_000 / MAX_AT_ONCE));
}

proptest! {
    #[test]
    fn the_same_messages_come_out_however_the_network_cuts_them(
        lengths in prop::collection::vec(prop_oneof![0..4_usize, 0..300_usize, 130_000..140_000_usize], 0..8),
        cuts in prop::collection::vec(prop_oneof![0..7_usize, 0..400_usize, 0..200_000_usize], 1..40),
        broken_off in prop::option::of(0..500_usize),
    ) {
        let mut bytes = Bytes::from(encoded(&lengths));
        let whole = bytes.len();
        bytes.truncate(broken_off.unwrap_or(whole));
        let broken = bytes.clone();
        let mut rest = bytes;
        let mut pieces: Vec<_> = cuts.iter().map(|cut| Some(rest.split_to(rest.len().min(*cut)))).collect();
        pieces.push(Some(rest));
        let (mut body, accounts) = assembler(pieces, true, TERMS);
        let (mut at, mut charges) = (0, Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let end = runtime.block_on(async {
            loop {
                match next(&mut body).await {
                    Ok(Some((message, charge))) => {
                        assert_eq!(message, broken.slice(at + PREFIX_BYTES..at + PREFIX_BYTES + message.len()));
                        at += PREFIX_BYTES + message.len();
                        charges.push(charge);
                    }
                    Ok(None) => return Ok(()),
                    Err(fault) => return Err(fault),
                }
            }
        });
        prop_assert_eq!(charges.iter().map(Charge::bytes).sum::<u64>(), at as u64);
        prop_assert_eq!(end, if at == broken.len() { Ok(()) } else { Err(RequestFault::BrokenOff) });
        drop((charges, body));
        prop_assert_eq!(accounts.requests.held(), 0);
    }
}
