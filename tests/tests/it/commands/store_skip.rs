//! `posthouse store skip` and `posthouse store reopen`: one entry of a shard's log halts it, and its other departments
//! go on.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use posthouse_engine::{
    ids::{DEFAULT_LANE, DepartmentId, QueueId, QueueRef, ShardId},
    keys::{HeadKey, Key as _},
    kv::{Family, Write},
    limits::MACHINE_VERSION,
    message_id,
    schema::{Advance, Batch, Command, ConfigureDepartment, Publish},
};
use posthouse_proto::v1::{
    CreateQueueRequest, DeleteQueueRequest, FindMessageRequest, GetQueueRequest, ListDeadLettersRequest,
    ListQueuesRequest, NewMessage, PublishRequest, PurgeQueueRequest, Queue, ReceiveRequest,
    RedriveDeadLettersRequest, SettleAction, SettleRequest, UpdateQueueRequest,
};
use posthouse_server::store::{Store, StoreOptions};
use posthouse_tests::harness::{
    binaries, cli, eventually,
    log::{Appended, append, append_bytes, batch, departments},
    probe,
    publishing::{PublishStream, open as open_publish},
    refusal::assert_refused,
    scene::{LONG, Scene, message, settlement, text},
    server::Server,
    site::{CIVIL, Site},
    stream::{Stream, open as open_consume},
    wire::Caller,
};
use rand::RngExt as _;
use tonic::Code;

const SHARDS: u16 = 4;

/// A site of more departments than shards.
fn site() -> Site {
    let site = Site::new();
    let few = r#"departments = ["household-registry", "identity-cards"]"#;
    let more = r#"departments = ["household-registry", "identity-cards", "adoptions", "marriages", "names"]"#;
    site.configure(&[(few, more)]);
    site
}

/// Two departments of a tenant that stand on one shard.
struct Two {
    shard: ShardId,
    /// What the entry names, and its id.
    named: (String, u32),
    other: String,
}

impl Two {
    fn of(data: &Path) -> Self {
        let mut by_shard = BTreeMap::<ShardId, Vec<_>>::new();
        let all = departments(data, SHARDS);
        let civil = all.iter().find(|department| department.name == "household-registry").unwrap().tenant;
        for department in all.into_iter().filter(|department| department.tenant == civil) {
            by_shard.entry(department.shard).or_default().push((department.name, department.id.0));
        }
        let (shard, mut two) = by_shard.into_iter().find(|(_, found)| found.len() >= 2).unwrap();
        Self { shard, other: two.pop().unwrap().0, named: two.pop().unwrap() }
    }

    fn queue(department: &str) -> String {
        format!("tenants/{CIVIL}/departments/{department}/queues/q")
    }

    fn malformed(&self) -> Batch {
        batch(self.shard, vec![malformed(self.named.1)])
    }
}

/// A publish as no proposer sends it.
fn malformed(department: u32) -> Command {
    Command::Publish(Publish { department, queue: 1, lane: 9, ..Publish::default() })
}

/// A folder with a queue in each of two departments of one shard, a message in each; its server is stopped.
async fn stopped() -> (Scene, Two) {
    let mut scene = Scene::on(site()).await;
    scene.server.terminate();
    assert!(scene.server.ended().await.success());
    let two = Two::of(&scene.site.data());
    start(&mut scene).await;
    for department in [&two.named.0, &two.other] {
        let queue = Queue { name: Two::queue(department), ..Queue::default() };
        let create = CreateQueueRequest { queue: Some(queue), ..CreateQueueRequest::default() };
        scene.caller.queues().create_queue(scene.caller.request(create)).await.unwrap();
        scene.publish(&Two::queue(department), &["before"]).await;
    }
    stop(&mut scene).await;
    (scene, two)
}

async fn start(scene: &mut Scene) {
    scene.server = Server::start(&scene.site).await;
    scene.caller = Caller::connect(&scene.site, &scene.credentials).await;
}

async fn stop(scene: &mut Scene) {
    scene.server.terminate();
    assert!(scene.server.ended().await.success(), "{}", scene.server.log());
}

/// The exit code, and what was said on stdout and stderr.
fn store(words: &[&str]) -> (i32, String, String) {
    let words = [&["store"], words].concat();
    let output = cli::run(Path::new("none"), words);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn skip(data: &Path, shard: u16, index: u64, digest: &str) -> (i32, String, String) {
    let (shard, index) = (shard.to_string(), index.to_string());
    let data = data.to_str().unwrap();
    store(&["skip", &shard, &index, "--digest", digest, "--reason", "a test", "--data-dir", data])
}

/// Skips it, which has to succeed.
fn skipped(data: &Path, shard: ShardId, entry: &Appended) -> String {
    let (code, told, errors) = skip(data, shard.0, entry.index, &entry.digest);
    assert_eq!((code, &*errors), (0, ""), "{told}");
    told
}

/// Every file of the folder but the lock, and what is in it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// The command is refused in such words, and leaves the folder as it is.
#[track_caller]
fn refused(data: &Path, words: &[&str], code: i32, why: &[&str]) {
    let before = files(data);
    let (ended, told, errors) = store(words);
    assert_eq!((ended, &*told), (code, ""), "{words:?}: {errors}");
    for why in why {
        assert!(errors.contains(why), "{words:?} does not say {why:?}: {errors}");
    }
    assert!(files(data) == before, "{words:?} has changed the folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_halts_its_shard_and_is_skipped_and_the_other_department_goes_on() {
    let (mut scene, two) = stopped().await;
    let data = scene.site.data();
    let entry = append(&data, two.shard, &[two.malformed()]).remove(0);
    let command = format!("posthouse store skip {} {} --digest {}", two.shard.0, entry.index, entry.digest);
    let other = Two::queue(&two.other);

    // Server and check say what can be done.
    start(&mut scene).await;
    let publish =
        PublishRequest { queue: other.clone(), messages: vec![message("x")], ..PublishRequest::default() };
    let halted = scene.caller.publisher().publish(scene.caller.request(publish)).await;
    assert_refused(halted, Code::Unavailable, "SHARD_HALTED");
    assert!(scene.server.log().contains(&command), "{}", scene.server.log());
    let (code, _, errors) = skip(&data, two.shard.0, entry.index, &entry.digest);
    assert!(code == 75 && errors.contains("a server runs on"), "{code}: {errors}");
    stop(&mut scene).await;
    let (code, told, _) = store(&["check", data.to_str().unwrap()]);
    assert!(code == 65 && told.contains(&command), "{told}");

    let told = skipped(&data, two.shard, &entry);
    let department = format!("tenants/{CIVIL}/departments/{}", two.named.0);
    assert!(told.contains(&department) && told.contains("start the server"), "{told}");
    let (code, told, errors) = store(&["check", data.to_str().unwrap()]);
    assert_eq!(code, 0, "{told}{errors}");
    assert!(
        told.contains("is set aside") && told.contains("a test") && told.contains(&entry.digest),
        "{told}"
    );

    // A second time, and with the beginning of the digest, it is done already.
    let (code, told, errors) = skip(&data, two.shard.0, entry.index, &entry.digest[..16].to_uppercase());
    assert!(
        code == 0 && told.contains("it is done already") && told.contains("a test"),
        "{code} {told} {errors}"
    );

    start(&mut scene).await;
    set_aside(&scene, &two).await;
    scene.publish(&other, &["after"]).await;
    let both = scene.receive(&other, 2, LONG).await;
    assert_eq!(both.iter().map(text).collect::<Vec<_>>(), ["before", "after"]);
    scene.settled(&other, settlement(&both[0], SettleAction::Ack)).await;

    // It stays so, whatever comes.
    for _ in 0..2 {
        scene.crash().await;
        set_aside(&scene, &two).await;
        scene.publish(&other, &["more"]).await;
    }
    stop(&mut scene).await;
    let (code, told, errors) = store(&["reopen", &department, "--data-dir", data.to_str().unwrap()]);
    assert_eq!((code, &*errors), (0, ""), "{told}");
    assert!(told.contains("is open again") && told.contains("a test"), "{told}");
    let name = format!("{CIVIL}/{}", two.named.0);
    let (code, told, _) = store(&["reopen", &name, "--data-dir", data.to_str().unwrap()]);
    assert!(code == 0 && told.contains("is not set aside"), "{told}");

    start(&mut scene).await;
    let metrics = probe::scrape(scene.site.management()).await;
    assert_eq!(probe::value(&metrics, "posthouse_departments_set_aside"), 0.0);
    let named = Two::queue(&two.named.0);
    assert_eq!(text(&scene.receive_one(&named, LONG).await), "before");
    scene.publish(&named, &["after"]).await;
    assert_eq!(text(&scene.receive_one(&named, LONG).await), "after");
}

/// Nothing of the department is read or changed, and operators are told.
async fn set_aside(scene: &Scene, two: &Two) {
    let (caller, name) = (&scene.caller, Two::queue(&two.named.0));
    let reason = "DEPARTMENT_SET_ASIDE";
    macro_rules! refused {
        ($service:ident . $method:ident ($request:expr)) => {
            let answer = caller.$service().$method(caller.request($request)).await;
            assert_refused(answer.map(drop), Code::FailedPrecondition, reason);
        };
    }
    let queue = || Some(Queue { name: name.clone(), ..Queue::default() });
    let fresh = Queue { name: format!("{name}-2"), ..Queue::default() };
    refused!(queues.create_queue(CreateQueueRequest { queue: Some(fresh), ..Default::default() }));
    refused!(queues.get_queue(GetQueueRequest { name: name.clone() }));
    let parent = name.strip_suffix("/queues/q").unwrap().to_owned();
    refused!(queues.list_queues(ListQueuesRequest { parent, ..Default::default() }));
    let update_mask = Some(prost_types::FieldMask { paths: vec!["max_message_bytes".to_owned()] });
    refused!(queues.update_queue(UpdateQueueRequest { queue: queue(), update_mask, ..Default::default() }));
    refused!(queues.delete_queue(DeleteQueueRequest { name: name.clone(), ..Default::default() }));
    refused!(queues.purge_queue(PurgeQueueRequest { name: name.clone(), ..Default::default() }));
    let messages: Vec<NewMessage> = vec![message("x")];
    refused!(publisher.publish(PublishRequest { queue: name.clone(), messages, ..Default::default() }));
    refused!(consumer.receive(ReceiveRequest { queue: name.clone(), max_messages: 1, ..Default::default() }));
    refused!(consumer.settle(SettleRequest { queue: name.clone(), ..Default::default() }));
    refused!(
        messages.list_dead_letters(ListDeadLettersRequest { queue: name.clone(), ..Default::default() })
    );
    refused!(
        messages
            .redrive_dead_letters(RedriveDeadLettersRequest { queue: name.clone(), ..Default::default() })
    );
    let queue = QueueRef { department: DepartmentId(two.named.1), queue: QueueId(1) };
    let message_id = message_id::encode(queue, DEFAULT_LANE, 1);
    refused!(
        messages.find_message(FindMessageRequest { message_id: message_id.clone(), ..Default::default() })
    );
    // Who has no grant for it learns nothing of that.
    let elsewhere = scene.scoped(&format!("posthouse:stats:{CIVIL}/{}/*", two.other));
    let find = FindMessageRequest { message_id, ..Default::default() };
    let denied = elsewhere.messages().find_message(elsewhere.request(find)).await;
    assert_refused(denied.map(drop), Code::PermissionDenied, "GRANT_MISSING");
    let stream = Stream::try_open(caller, open_consume(&name, [1; 16], 1)).await.err().unwrap();
    assert_refused(Err::<(), _>(stream), Code::FailedPrecondition, reason);
    let stream = PublishStream::try_open(caller, open_publish(&name, None)).await.err().unwrap();
    assert_refused(Err::<(), _>(stream), Code::FailedPrecondition, reason);
    let metrics = probe::scrape(scene.site.management()).await;
    assert_eq!(probe::value(&metrics, "posthouse_departments_set_aside"), 1.0);
    assert_eq!(probe::value(&metrics, "posthouse_shards_halted"), 0.0);
    let ready = probe::get(scene.site.management(), "/readyz").await.unwrap();
    assert!(ready.status == 200 && ready.body.contains("departments set aside: 1"), "{ready:?}");
    assert!(scene.server.log().contains("a department is set aside"), "{}", scene.server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_entry_that_halts_is_refused_and_nothing_is_changed() {
    let (scene, two) = stopped().await;
    let (site, shard) = (&scene.site, two.shard);
    let data = site.data();
    let dir = data.to_str().unwrap();
    let publish = Command::Publish(Publish { department: two.named.1, queue: 99, ..Publish::default() });
    let good = batch(shard, vec![publish]);
    let appended = append(&data, shard, &[good, two.malformed(), two.malformed()]);
    let [before, entry, after] = &appended[..] else { panic!("{appended:?}") };
    let refuse = |shard: u16, index: u64, digest: &str, code, why: &[&str]| {
        let (shard, index) = (shard.to_string(), index.to_string());
        let words = ["skip", &shard, &index, "--digest", digest, "--reason", "a test", "--data-dir", dir];
        refused(&data, &words, code, why);
    };
    let (number, index) = (shard.0, entry.index);
    refuse(9, index, &entry.digest, 65, &["there is no shard 9", "shards 0 to 3", "next: name the shard"]);
    refuse((number + 1) % SHARDS, index + 100, &entry.digest, 65, &["there is no entry", "ends at entry"]);
    refuse(number, index + 100, &entry.digest, 65, &["there is no entry", "nothing was changed"]);
    refuse(number, 1, &entry.digest, 65, &["entry 1 of shard", "is applied already"]);
    let halts = format!("but by entry {index}, whose digest is {}", entry.digest);
    refuse(number, before.index, &before.digest, 65, &["is not halted by entry", &halts]);
    refuse(number, after.index, &after.digest, 65, &["is not halted by entry", &halts]);
    refuse(number, index, &before.digest, 65, &["has the digest", &entry.digest, "nothing was changed"]);
    for digest in ["", "8f0c2a61", "no digest at all, but letters", &"ab".repeat(33)] {
        refuse(number, index, digest, 65, &["is no digest", "16 to 64 hexadecimal digits"]);
    }
    let words = |reason| {
        ["skip", "1", "1", "--digest", &entry.digest, "--reason", reason, "--data-dir", dir]
            .map(str::to_owned)
    };
    for reason in ["", " ", "two\nlines", &"long".repeat(200)] {
        let words = words(reason);
        refused(&data, &words.each_ref().map(String::as_str), 64, &["--reason"]);
    }
    refused(&data, &["skip", "1", "1", "--digest", &entry.digest, "--reason", "a"], 64, &["--data-dir"]);
    let nowhere = site.path("nowhere");
    let words = ["skip", "1", "1", "--digest", &entry.digest, "--reason", "a", "--data-dir"];
    refused(&data, &[&words[..], &[nowhere.to_str().unwrap()]].concat(), 66, &["name a data folder"]);
    refused(
        &data,
        &["reopen", &format!("{CIVIL}/nobody"), "--data-dir", dir],
        65,
        &["there is no department"],
    );
    refused(
        &data,
        &["reopen", &format!("{CIVIL}/{}", two.named.0), "--data-dir", dir],
        65,
        &["is halted by entry"],
    );
    // A name without its folder is asked for in the environment.
    let told = skipped(&data, shard, entry);
    // What is behind it names the same department: its commands are refused now, and halt nothing.
    assert!(told.contains("start the server"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_entry_that_is_to_blame_and_names_one_department_is_skipped() {
    let (scene, two) = stopped().await;
    let (shard, data) = (two.shard, scene.site.data());
    let other = departments(&data, SHARDS).into_iter().find(|found| found.name == two.other).unwrap().id.0;
    let advance = || Command::Advance(Advance { max: 1 });
    let newer = Batch { machine_version: MACHINE_VERSION + 1, ..two.malformed() };
    let elsewhere = Batch { shard: u32::from(shard.0) + 1, ..two.malformed() };
    let several = [two.named.0.as_str(), two.other.as_str(), "names several departments"];
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (entry(&newer), &["is not to blame", "run a newer one", "start the version that wrote it"]),
        (entry(&batch(shard, vec![malformed(two.named.1), malformed(other)])), &several),
        (entry(&Batch { shard: 7, ..batch(shard, vec![advance()]) }), &["names no department"]),
        (
            entry(&batch(shard, vec![malformed(4_000)])),
            &["which the catalogue does not know cannot be set aside"],
        ),
        // What halts is not the department's command.
        (entry(&elsewhere), &["something else is to blame"]),
        (b"garbage that is no batch".to_vec(), &["cannot be read, so that it names no department"]),
    ];
    for (bytes, why) in cases {
        let copy = scene.site.path("copy");
        copy_folder(&data, &copy);
        let found = append_bytes(&copy, shard, vec![bytes]).remove(0);
        let (number, index) = (shard.0.to_string(), found.index.to_string());
        let dir = copy.to_str().unwrap();
        let words =
            ["skip", &number, &index, "--digest", &found.digest, "--reason", "a test", "--data-dir", dir];
        refused(&copy, &words, 65, why);
        fs::remove_dir_all(copy).unwrap();
    }
    // An entry with whatever else comes with a command of the department.
    let mixed = batch(shard, vec![advance(), malformed(two.named.1), advance(), malformed(two.named.1)]);
    let found = append(&data, shard, &[mixed]).remove(0);
    assert!(skipped(&data, shard, &found).contains("none of its 4 commands is done"));
    // What the catalogue says of a department may be it, too; it is said again at every start, and halts nobody then.
    let copy = scene.site.path("copy");
    copy_folder(&data, &copy);
    let (department, catalogue_index) = (other, 1 << 40);
    let moved = ConfigureDepartment { department, catalogue_index, tenant: 99, closed: false };
    let found = append(&copy, shard, &[batch(shard, vec![Command::ConfigureDepartment(moved)])]).remove(0);
    assert!(skipped(&copy, shard, &found).contains("moved to tenant"));
    fs::remove_dir_all(copy).unwrap();
    // A shard that nothing halts.
    let good = append(&data, shard, &[batch(shard, vec![advance()])]).remove(0);
    let (code, _, errors) = skip(&data, shard.0, good.index, &good.digest);
    assert!(
        code == 65 && errors.contains("does not halt it") && errors.contains("next: start the server"),
        "{errors}"
    );
}

fn entry(batch: &Batch) -> Vec<u8> {
    use prost::Message as _;
    [&7_u64.to_be_bytes()[..], &batch.encode_to_vec()].concat()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_all_of_it_is_done_or_nothing() {
    let (mut scene, two) = stopped().await;
    let data = scene.site.data();
    // A server that was killed has left batches in the log only.
    start(&mut scene).await;
    for number in 0..50 {
        scene.publish(&Two::queue(&two.other), &[&format!("{number}")]).await;
    }
    scene.server.kill();
    let found = append(&data, two.shard, &[two.malformed()]).remove(0);
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(seed);
    let (mut done, mut undone) = (0, 0);
    let mut whole = Duration::from_millis(300);
    for round in 0..24 {
        let copy = scene.site.path("copy");
        copy_folder(&data, &copy);
        let (shard, index) = (two.shard.0.to_string(), found.index.to_string());
        let mut command = cli::command(
            Path::new("none"),
            ["store", "skip", &shard, &index, "--digest", &found.digest, "--reason", "a test", "--data-dir"],
        );
        let begun = Instant::now();
        let mut child = command.arg(&copy).stdout(std::process::Stdio::null()).spawn().unwrap();
        if round == 0 {
            assert!(child.wait().unwrap().success());
            whole = begun.elapsed();
        } else {
            tokio::time::sleep(whole.mul_f64(random.random_range(0.2..1.1))).await;
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let (code, told, errors) = skip(&copy, two.shard.0, found.index, &found.digest);
        assert_eq!(code, 0, "{told}{errors}");
        *(if told.contains("it is done already") { &mut done } else { &mut undone }) += 1;
        let (code, told, errors) = store(&["check", copy.to_str().unwrap()]);
        assert_eq!(code, 0, "{told}{errors}");
        fs::remove_dir_all(copy).unwrap();
    }
    println!("done {done}, undone {undone}");
    assert!(done > 0 && undone > 0, "done {done}, undone {undone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_written_nothing_is() {
    let (scene, two) = stopped().await;
    let data = scene.site.data();
    let found = append(&data, two.shard, &[two.malformed()]).remove(0);
    // Who may read all of it and write nothing of it.
    let mut parents: Vec<&Path> = data.ancestors().collect();
    parents.retain(|parent| parent.starts_with(scene.site.path("")));
    for parent in parents {
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for path in files(&data).into_keys() {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let binary = scene.site.path("posthouse");
    fs::copy(binaries::posthouse(), &binary).unwrap();
    let before = files(&data);
    let mut command = std::process::Command::new(binary);
    let (shard, index) = (two.shard.0.to_string(), found.index.to_string());
    command.args(["store", "skip", &shard, &index, "--digest", &found.digest, "--reason", "a test"]);
    command.env("POSTHOUSE_DATA_DIR", &data).uid(65_534).gid(65_534);
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(74), "{errors}");
    assert!(errors.contains("ermission denied") && errors.contains("nothing was changed"), "{errors}");
    assert!(files(&data) == before);
    skipped(&data, two.shard, &found);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_meanwhile_happens_when_it_is_open_again() {
    let (mut scene, two) = stopped().await;
    let (data, named) = (scene.site.data(), Two::queue(&two.named.0));
    start(&mut scene).await;
    let leased = scene.receive_one(&named, Duration::from_secs(1)).await;
    scene.server.kill();
    let found = append(&data, two.shard, &[two.malformed()]).remove(0);
    skipped(&data, two.shard, &found);
    // The lease ends while the department is set aside: a timer of the shard's, which halts nobody and loses nothing.
    start(&mut scene).await;
    scene.publish(&Two::queue(&two.other), &["x"]).await;
    let short = scene.receive(&Two::queue(&two.other), 2, Duration::from_secs(1)).await.len();
    assert!(short > 0);
    eventually("the end of the other's lease", async || {
        (scene.receive_now(&Two::queue(&two.other), 10).await.len() >= short).then_some(())
    })
    .await;
    stop(&mut scene).await;
    let department = format!("{CIVIL}/{}", two.named.0);
    let (code, told, errors) = store(&["reopen", &department, "--data-dir", data.to_str().unwrap()]);
    assert_eq!((code, &*errors), (0, ""), "{told}");
    start(&mut scene).await;
    let again = scene.receive_one(&named, LONG).await;
    assert_eq!(
        (text(&again), again.attempt),
        (text(&leased), leased.attempt),
        "no leader was there: it counts no attempt"
    );
    scene.settled(&named, settlement(&again, SettleAction::Ack)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_department_whose_rows_do_not_fit_together_is_opened_by_force_only() {
    let (mut scene, two) = stopped().await;
    let data = scene.site.data();
    let found = append(&data, two.shard, &[two.malformed()]).remove(0);
    skipped(&data, two.shard, &found);
    // What a fault may have left behind.
    let queue = QueueRef { department: DepartmentId(two.named.1), queue: QueueId(1) };
    let rows = Store::open(&data.join("store"), &StoreOptions::default()).unwrap();
    rows.write(&[Write::Delete { family: Family::State, key: HeadKey { queue }.encode() }]).unwrap();
    rows.flush().unwrap();
    drop(rows);

    // It harms nobody while the department is set aside.
    start(&mut scene).await;
    set_aside(&scene, &two).await;
    scene.publish(&Two::queue(&two.other), &["after"]).await;
    stop(&mut scene).await;
    let (name, dir) = (format!("{CIVIL}/{}", two.named.0), data.to_str().unwrap());
    let why = ["do not fit together", "no head", "--force", "nothing was changed"];
    refused(&data, &["reopen", &name, "--data-dir", dir], 65, &why);
    let (code, told, errors) = store(&["reopen", &name, "--force", "--data-dir", dir]);
    assert!(code == 0 && told.contains("is open again") && told.contains("no head"), "{told}{errors}");
    start(&mut scene).await;
    let publish = PublishRequest {
        queue: Two::queue(&two.named.0),
        messages: vec![message("x")],
        ..Default::default()
    };
    let halted = scene.caller.publisher().publish(scene.caller.request(publish)).await;
    assert_refused(halted, Code::Unavailable, "SHARD_HALTED");
}
