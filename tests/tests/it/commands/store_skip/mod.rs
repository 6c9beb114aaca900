//! `posthouse store skip` and `posthouse store reopen`: an entry halts its shard, and is skipped; its department is set
//! aside, and the other departments go on.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use posthouse_engine::{
    ids::ShardId,
    schema::{Batch, Command, Publish},
};
use posthouse_proto::v1::{CreateQueueRequest, Queue};
use posthouse_tests::harness::{
    cli,
    log::{Appended, batch, departments},
    scene::Scene,
    server::Server,
    site::{CIVIL, Site},
    wire::Caller,
};

mod atomic;
mod refusals;
mod set_aside;

const SHARDS: u16 = 4;

/// A site with more departments than shards.
fn site() -> Site {
    let site = Site::new();
    let few = r#"departments = ["household-registry", "identity-cards"]"#;
    let more = r#"departments = ["household-registry", "identity-cards", "adoptions", "marriages", "names"]"#;
    site.configure(&[(few, more)]);
    site
}

/// Two departments of one tenant on one shard.
struct Two {
    shard: ShardId,
    /// The department that the entry names, and its id.
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

/// A publish that no proposer makes.
fn malformed(department: u32) -> Command {
    Command::Publish(Publish { department, queue: 1, lane: 9, ..Publish::default() })
}

/// A stopped server's folder, with a queue in each of two departments of one shard, and a message in each queue.
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

/// The exit code, and what was written to stdout and stderr.
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

/// Skips an entry, which must succeed.
fn skipped(data: &Path, shard: ShardId, entry: &Appended) -> String {
    let (code, printed, errors) = skip(data, shard.0, entry.index, &entry.digest);
    assert_eq!((code, &*errors), (0, ""), "{printed}");
    printed
}

/// Every file of the folder but the lock, with its content.
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

/// Fails unless the command is refused in these words, and leaves the folder unchanged.
#[track_caller]
fn refused(data: &Path, words: &[&str], code: i32, why: &[&str]) {
    let before = files(data);
    let (ended, printed, errors) = store(words);
    assert_eq!((ended, &*printed), (code, ""), "{words:?}: {errors}");
    for why in why {
        assert!(errors.contains(why), "{words:?} does not say {why:?}: {errors}");
    }
    assert!(files(data) == before, "{words:?} has changed the folder");
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
