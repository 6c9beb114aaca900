use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::sync::mpsc;

use super::*;
use crate::account::{Accounts, Counters};

/// Tells of a message by its number.
struct Reporter(u32, mpsc::UnboundedSender<(u32, &'static str)>);

impl OnSent for Reporter {
    fn begun(&mut self) {
        self.1.send((self.0, "begun")).unwrap();
    }

    fn left(self: Box<Self>) {
        self.1.send((self.0, "left")).unwrap();
    }
}

fn accounts() -> ConnectionAccounts {
    Accounts::new(Counters::for_tests()).open(None)
}

/// A message of this many bytes, with its prefix.
fn message(bytes: u32) -> Vec<u8> {
    [&[0][..], &bytes.to_be_bytes(), &vec![7; bytes as usize]].concat()
}

fn drain<T>(reports: &mut mpsc::UnboundedReceiver<T>) -> Vec<T> {
    std::iter::from_fn(|| reports.try_recv().ok()).collect()
}

#[test]
fn a_message_has_begun_with_its_first_byte_and_left_with_its_last_and_the_end_comes_then() {
    let (reporter, mut reports) = mpsc::unbounded_channel();
    let at_end = reporter.clone();
    let tracker = SendTracker::before_end(move || at_end.send((0, "end")).unwrap());
    let watched = tracker.clone();
    // As the library does: what is made is handed over before more is made.
    let made = [&[(1, 10), (2, 0)][..], &[(3, 3)], &[]].into_iter().map(move |messages| {
        let mut bytes = Vec::new();
        for (number, size) in messages {
            watched.message(Some(Box::new(Reporter(*number, reporter.clone()))));
            bytes.extend(message(*size));
        }
        let trailers = messages.is_empty();
        Ok::<_, Status>(if trailers { Frame::trailers(HeaderMap::new()) } else { Frame::data(bytes.into()) })
    });
    let body = Body::new(StreamBody::new(futures_util::stream::iter(made)));
    let mut response = Response::new(body);
    response.extensions_mut().insert(tracker);
    let mut answer = SendTracker::watch(response, CallTask::default(), &accounts()).into_body();
    let mut data = || answer.frame().now_or_never().map(|frame| frame.unwrap().unwrap().into_data());
    let mut one = data().unwrap().ok().unwrap();
    let mut two = data().unwrap().ok().unwrap();
    // All is handed over, and nothing written.
    assert!(data().is_none() && drain(&mut reports).is_empty());
    one.advance(1);
    assert_eq!(drain(&mut reports), [(1, "begun")]);
    one.advance(13);
    assert!(drain(&mut reports).is_empty());
    one.advance(2);
    assert_eq!(drain(&mut reports), [(1, "left"), (2, "begun")]);
    one.advance(one.remaining());
    assert_eq!(drain(&mut reports), [(2, "left")]);
    two.advance(7);
    assert!(data().is_none());
    assert_eq!(drain(&mut reports), [(3, "begun")]);
    two.advance(1);
    assert!(data().unwrap().is_err(), "the trailers come");
    assert_eq!(drain(&mut reports), [(3, "left"), (0, "end")]);
}

#[test]
fn what_was_not_taken_when_an_answer_is_dropped_is_dropped_untold_though_the_network_holds_it() {
    let (reporter, mut reports) = mpsc::unbounded_channel::<(u32, &'static str)>();
    let at_end = reporter.clone();
    let tracker = SendTracker::before_end(move || at_end.send((0, "end")).unwrap());
    tracker.message(None);
    tracker.message(Some(Box::new(Reporter(2, reporter))));
    let both = Bytes::from([message(1), message(1)].concat());
    let mut response = Response::new(Body::new(Full::new(both)));
    response.extensions_mut().insert(tracker);
    let mut answer = SendTracker::watch(response, CallTask::default(), &accounts()).into_body();
    let mut data = answer.frame().now_or_never().unwrap().unwrap().unwrap().into_data().ok().unwrap();
    data.advance(6);
    drop(answer);
    // No action is left.
    assert_eq!(reports.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
    data.advance(6);
    assert_eq!(data.remaining(), 0);
}

#[test]
fn what_the_network_holds_is_charged_until_it_has_left_or_is_dropped() {
    let accounts = accounts();
    let held = || accounts.requests.held();
    let body = Body::new(Full::new(Bytes::from(message(5))));
    let task = CallTask::default();
    let mut answer = SendTracker::watch(Response::new(body), task.clone(), &accounts).into_body();
    let mut data = answer.frame().now_or_never().unwrap().unwrap().unwrap().into_data().ok().unwrap();
    // The libraries are done with the body before the client reads it.
    drop(answer);
    assert_eq!(held(), 10);
    data.advance(9);
    assert_eq!((held(), task.sent()), (10, 9));
    data.advance(1);
    assert_eq!(held(), 0);
}

#[test]
fn the_end_of_a_large_answer_waits_until_it_is_read_and_what_it_was_charged_is_given_back() {
    let accounts = accounts();
    let whole = Bytes::from(vec![0; 1 << 20]);
    let charge = accounts.deliveries.charge(whole.len());
    let body = Full::new(whole).with_trailers(async { Some(Ok(HeaderMap::new())) });
    let mut response = Response::new(Body::new(body.map_err(|never| match never {})));
    response.extensions_mut().insert(ChargedAnswer::new(charge));
    let mut answer = SendTracker::watch(response, CallTask::default(), &accounts).into_body();
    let mut data = answer.frame().now_or_never().unwrap().unwrap().unwrap().into_data().ok().unwrap();
    assert!(answer.frame().now_or_never().is_none(), "the trailers wait");
    assert_eq!(accounts.deliveries.held(), 1 << 20);
    data.advance(1 << 20);
    assert!(answer.frame().now_or_never().unwrap().unwrap().unwrap().is_trailers());
    assert_eq!(accounts.deliveries.held(), 0);
}
