//! Changes with a request id are made once.

use bytes::Bytes;
use posthouse_engine::{
    check::check,
    ids::{QueueId, ShardId, TenantId},
    keys::{Key, RequestKey, RequestOrderKey, Requester, RequesterKey, Timer, TimerKey},
    kv::{Family, Write},
    limits::{MAX_REQUESTS, REQUEST_RETENTION_MS, REQUESTS_PER_TIMER, VERSION_OF_WALL_TIME},
    outcome::{
        Change, CreateQueueError, DeleteQueueError, DepartmentError, Outcome, PurgeQueueError, QueueView,
        RedriveError, UpdateQueueError,
    },
    schema::{
        Command, CreateQueue, DeleteQueue, PurgeQueue, QueueSettings, RedriveDeadLetters, Request,
        RequestRow, SettleKind, UpdateQueue,
    },
};
use prost::Message;

use crate::shard::{DEPARTMENT, START, Shard, answer, department, holder, settings, token};

/// A request of one operator, whose content is one byte.
fn request(id: &str, content: u8) -> Option<Box<Request>> {
    by("operator", id, content)
}

fn by(subject: &str, id: &str, content: u8) -> Option<Box<Request>> {
    let digest = Bytes::from(vec![content; 32]);
    Some(Box::new(Request { id: id.into(), tenant: 7, subject: subject.into(), digest }))
}

fn create(
    shard: &mut Shard,
    name: &str,
    request: Option<Box<Request>>,
) -> Result<QueueView, CreateQueueError> {
    let name = name.into();
    let command = CreateQueue { department: DEPARTMENT, name, request, ..CreateQueue::default() };
    answer!(shard.run(Command::CreateQueue(command)), CreateQueue)
}

fn update(
    shard: &mut Shard,
    attempts: u32,
    expected_revision: u64,
    request: Option<Box<Request>>,
) -> Result<QueueView, UpdateQueueError> {
    let (name, settings) = ("a".into(), Some(settings(attempts, "")));
    let command = UpdateQueue { department: DEPARTMENT, name, settings, expected_revision, request };
    answer!(shard.run(Command::UpdateQueue(command)), UpdateQueue)
}

fn delete(shard: &mut Shard, revision: u64, request: Option<Box<Request>>) -> Result<(), DeleteQueueError> {
    let name = "a".into();
    let command = DeleteQueue { department: DEPARTMENT, name, expected_revision: revision, request };
    answer!(shard.run(Command::DeleteQueue(command)), DeleteQueue)
}

fn purge(shard: &mut Shard, request: Option<Box<Request>>) -> Result<u64, PurgeQueueError> {
    let command = PurgeQueue { department: DEPARTMENT, name: "a".into(), request };
    answer!(shard.run(Command::PurgeQueue(command)), PurgeQueue)
}

#[test]
fn a_repeat_is_answered_as_the_first_was_whatever_happened_since() {
    let mut shard = Shard::new();
    let created = create(&mut shard, "a", request("create", 1)).unwrap();
    shard.now += 10;
    let updated = update(&mut shard, 3, 1, request("update", 2)).unwrap();
    assert_eq!((updated.revision, updated.updated_at_ms), (2, created.created_at_ms + 10));
    let queue = posthouse_engine::ids::QueueRef { department: created.department, queue: created.queue };
    shard.publish(queue, &["one", "two"]);
    assert_eq!(purge(&mut shard, request("purge", 3)), Ok(2));
    shard.publish(queue, &["three"]);
    // The etag is old, the settings have changed, there are messages again: the first answers stay.
    update(&mut shard, 9, 0, None).unwrap();
    assert_eq!(update(&mut shard, 3, 1, request("update", 2)), Ok(updated.clone()));
    assert_eq!(shard.effects, [], "nothing is done again");
    assert_eq!(purge(&mut shard, request("purge", 3)), Ok(2));
    assert_eq!((shard.effects.clone(), shard.free(queue)), (vec![], vec![3]));
    assert_eq!(delete(&mut shard, 3, request("delete", 4)), Ok(()));
    shard.restart();
    // The queue is deleted, another of its name is created, and deleted too.
    for _ in 0..2 {
        assert_eq!(create(&mut shard, "a", request("create", 1)), Ok(created.clone()));
        assert_eq!(update(&mut shard, 3, 1, request("update", 2)), Ok(updated.clone()));
        assert_eq!(purge(&mut shard, request("purge", 3)), Ok(2));
        assert_eq!(delete(&mut shard, 3, request("delete", 4)), Ok(()));
        if shard.machine.queue_by_name(&shard.kv, department(), "a").unwrap().is_none() {
            assert_eq!(create(&mut shard, "a", request("another", 1)).unwrap().queue, QueueId(2));
        }
    }
    assert!(shard.machine.queue_by_name(&shard.kv, department(), "a").unwrap().is_some());
}

#[test]
fn an_id_is_of_one_request_of_one_subject() {
    let mut shard = Shard::new();
    let created = create(&mut shard, "a", request("id", 1)).unwrap();
    assert_eq!(create(&mut shard, "a", request("id", 2)), Err(CreateQueueError::RequestIdReused));
    assert_eq!(update(&mut shard, 3, 0, request("id", 1)), Err(UpdateQueueError::RequestIdReused));
    assert_eq!(delete(&mut shard, 0, request("id", 1)), Err(DeleteQueueError::RequestIdReused));
    assert_eq!(purge(&mut shard, request("id", 1)), Err(PurgeQueueError::RequestIdReused));
    let redrive = RedriveDeadLetters {
        department: DEPARTMENT,
        queue: created.queue.0,
        subscription: 1,
        request: request("id", 1),
        ..RedriveDeadLetters::default()
    };
    assert_eq!(shard.run_redrive(redrive), Err(RedriveError::RequestIdReused));
    // The query between batches answers the same.
    let asked = |change, content| {
        shard.machine.requested(&shard.kv, department(), &request("id", content).unwrap(), change).unwrap()
    };
    assert_eq!(asked(Change::Create, 1), Some(Outcome::CreateQueue(Ok(created))));
    assert_eq!(asked(Change::Create, 2), Some(Outcome::CreateQueue(Err(CreateQueueError::RequestIdReused))));
    assert_eq!(asked(Change::Purge, 1), Some(Outcome::PurgeQueue(Err(PurgeQueueError::RequestIdReused))));
    // Another subject may use the same id: its request is another one.
    assert_eq!(create(&mut shard, "a", by("other", "id", 1)), Err(CreateQueueError::AlreadyExists));
    assert_eq!(delete(&mut shard, 0, by("other", "id", 9)), Ok(()));
    assert_eq!(delete(&mut shard, 0, by("other", "id", 9)), Ok(()));
    assert_eq!(create(&mut shard, "a", by("oper", "atorid", 1)).unwrap().queue, QueueId(2));
}

#[test]
fn what_was_refused_is_not_remembered() {
    let mut shard = Shard::new();
    assert_eq!(delete(&mut shard, 0, request("id", 1)), Err(DeleteQueueError::NotFound));
    create(&mut shard, "a", None).unwrap();
    assert_eq!(delete(&mut shard, 7, request("id", 1)), Err(DeleteQueueError::RevisionMismatch(1)));
    // The id is not used up, and the same request is tried again.
    assert_eq!(update(&mut shard, 3, 0, request("id", 2)).unwrap().revision, 2);
    assert_eq!(delete(&mut shard, 0, request("id", 1)), Err(DeleteQueueError::RequestIdReused));
    shard.configure(5, true);
    let closed = Err(DepartmentError::Closed.into());
    assert_eq!(update(&mut shard, 3, 0, request("id", 2)), closed, "a closed department tells nothing");
    assert_eq!(update(&mut shard, 3, 0, request("new", 2)), closed);
    shard.configure(6, false);
    assert_eq!(update(&mut shard, 3, 0, request("id", 2)).unwrap().revision, 2);
}

#[test]
fn in_one_batch_too_it_is_made_once() {
    let (mut shard, queue) = Shard::with(QueueSettings::default());
    shard.publish(queue, &["one"]);
    let name = "applications".to_owned();
    let purge = |id, content| {
        let request = request(id, content);
        Command::PurgeQueue(PurgeQueue { department: DEPARTMENT, name: name.clone(), request })
    };
    let outcomes = shard.run_all(vec![purge("id", 1), purge("id", 1), purge("id", 2), purge("other", 1)]);
    let [once, again] = [Outcome::PurgeQueue(Ok(1)), Outcome::PurgeQueue(Ok(0))];
    let reused = Outcome::PurgeQueue(Err(PurgeQueueError::RequestIdReused));
    assert_eq!(outcomes, [once.clone(), once, reused, again]);
}

#[test]
fn a_request_is_forgotten_after_a_day() {
    let mut shard = Shard::new();
    let rows = shard.rows(Family::State);
    create(&mut shard, "a", request("create", 1)).unwrap();
    assert_eq!(delete(&mut shard, 0, request("delete", 2)), Ok(()));
    shard.pass(REQUEST_RETENTION_MS - 1);
    assert_eq!(delete(&mut shard, 0, request("delete", 2)), Ok(()));
    // A repeat does not extend the time for which a request is remembered.
    shard.pass(1);
    assert_eq!(delete(&mut shard, 0, request("delete", 2)), Err(DeleteQueueError::NotFound));
    assert_eq!((shard.rows(Family::State), shard.rows(Family::Timer)), (rows, 0));
    assert_eq!(create(&mut shard, "a", request("create", 9)).unwrap().queue, QueueId(2));
}

#[test]
fn so_many_are_remembered_of_each_subject_and_then_the_oldest_goes() {
    let mut shard = Shard::new();
    create(&mut shard, "a", by("other", "its own", 1)).unwrap();
    shard.checked = false;
    for number in 0..MAX_REQUESTS {
        update(&mut shard, 1 + u32::try_from(number % 900).unwrap(), 0, request(&format!("{number}"), 1))
            .unwrap();
    }
    let revision = update(&mut shard, 1, 0, request("0", 1)).unwrap().revision;
    assert_eq!(revision, 2, "it is remembered");
    let last = update(&mut shard, 5, 0, request("one more", 1)).unwrap().revision;
    assert!(update(&mut shard, 1, 0, request("0", 1)).unwrap().revision > last, "it was made anew");
    assert!(
        update(&mut shard, 2, 0, request("1", 1)).unwrap().revision > last,
        "and took the place of the next"
    );
    assert_eq!(update(&mut shard, 4, 0, request("3", 1)).unwrap().revision, 5);
    let foreign = create(&mut shard, "a", by("other", "its own", 1));
    assert!(foreign.is_ok(), "others' are not touched: {foreign:?}");
    shard.check();
}

#[test]
fn a_timer_forgets_a_bounded_number() {
    let mut shard = Shard::new();
    create(&mut shard, "a", None).unwrap();
    shard.checked = false;
    let rows = shard.rows(Family::State);
    let many = REQUESTS_PER_TIMER as u64 + 10;
    for number in 0..many {
        purge(&mut shard, request(&format!("{number}"), 1)).unwrap();
    }
    shard.check();
    shard.now += REQUEST_RETENTION_MS;
    let left = |shard: &Shard| shard.rows(Family::State) - rows;
    let advanced = shard.advance(1_000);
    assert_eq!((advanced.fired, advanced.more, left(&shard)), (1, true, 2 * 10 + 1));
    shard.check();
    let advanced = shard.advance(1_000);
    assert_eq!((advanced.fired, advanced.more, left(&shard)), (1, false, 0));
    assert_eq!(shard.rows(Family::Timer), 0);
}

#[test]
fn a_redrive_is_made_once_and_its_answer_is_kept() {
    let mut shard = Shard::new();
    let dead = shard.create("dead", settings(1, ""));
    let queue = shard.create("applications", settings(1, "dead"));
    for sequence in 1..=3 {
        shard.publish(queue, &["one"]);
        shard.fail(queue, sequence);
    }
    let held = shard.grant(dead, &holder("b"), &[1], 5_000);
    let redrive = RedriveDeadLetters {
        department: DEPARTMENT,
        queue: dead.queue.0,
        subscription: 1,
        sequences: vec![1, 2],
        next_sequence: 3,
        origins: vec!["applications".into()],
        request: request("id", 1),
        ..RedriveDeadLetters::default()
    };
    let first = shard.run_redrive(redrive.clone()).unwrap();
    assert_eq!((first.answer.redriven, first.answer.next_sequence), (1, 3));
    assert_eq!(first.answer.origins, ["applications"]);
    shard.settle(dead, &holder("b"), token(&held, 0), SettleKind::Release);
    let command = DeleteQueue { department: DEPARTMENT, name: "dead".into(), ..DeleteQueue::default() };
    shard.run(Command::DeleteQueue(command));
    shard.restart();
    let again = shard.run_redrive(redrive.clone()).unwrap();
    assert_eq!((again.answer, again.outcomes.len()), (first.answer, 0));
    assert_eq!(shard.stats(queue).published, 4);
    // Without its queue it could not be made.
    assert!(shard.run_redrive(RedriveDeadLetters { request: request("other", 1), ..redrive }).is_err());
}

#[test]
fn a_queue_of_before_knows_the_call_that_made_it() {
    let mut shard = Shard::new();
    let old = CreateQueue {
        department: DEPARTMENT,
        name: "a".into(),
        request_id: "id".into(),
        ..Default::default()
    };
    shard.version = VERSION_OF_WALL_TIME - 1;
    let created = answer!(shard.run(Command::CreateQueue(old.clone())), CreateQueue).unwrap();
    // A batch of that version ignores requests.
    let newer = CreateQueue { request_id: String::new(), request: request("id", 1), ..old };
    let existed = answer!(shard.run(Command::CreateQueue(newer.clone())), CreateQueue);
    assert_eq!(existed, Err(CreateQueueError::AlreadyExists));
    shard.version = VERSION_OF_WALL_TIME;
    assert_eq!(answer!(shard.run(Command::CreateQueue(newer)), CreateQueue), Ok(created));
    assert_eq!(create(&mut shard, "a", request("id", 2)), Err(CreateQueueError::RequestIdReused));
    // A batch of this version does not ignore them.
    create(&mut shard, "b", request("b", 1)).unwrap();
    assert_eq!(create(&mut shard, "b", by("other", "b", 1)), Err(CreateQueueError::AlreadyExists));
}

#[test]
fn the_check_misses_no_damage() {
    let mut shard = Shard::new();
    create(&mut shard, "a", request("create", 1)).unwrap();
    purge(&mut shard, request("purge", 2)).unwrap();
    let requester =
        || Requester { department: department(), tenant: TenantId(7), subject: "operator".into() };
    let state = |key: Vec<u8>| Write::Delete { family: Family::State, key };
    let timer = TimerKey {
        shard: ShardId(0),
        due_ms: START + REQUEST_RETENTION_MS,
        timer: Timer::Requests(requester()),
    };
    let number = RequestRow { number: 2, digest: vec![1; 32].into(), answer: None };
    let id = |id: &str| RequestKey { requester: requester(), id: id.into() }.encode();
    let damages = [
        state(RequesterKey { requester: requester() }.encode()),
        state(RequestOrderKey { requester: requester(), number: 1 }.encode()),
        state(id("purge")),
        Write::Put {
            family: Family::State,
            key: id("purge"),
            head: number.encode_to_vec().into(),
            tail: Bytes::new(),
        },
        Write::Delete { family: Family::Timer, key: timer.encode() },
    ];
    for damage in damages {
        let mut kv = shard.kv.clone();
        kv.write(std::slice::from_ref(&damage));
        let problems = check(ShardId(0), &kv).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains("operator")), "{damage:?}: {problems:?}");
    }
}
