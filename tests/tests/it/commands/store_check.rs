//! `posthouse store check`: whether a stopped server's folder is whole.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use posthouse_tests::harness::{
    cli,
    server::Server,
    site::{CIVIL, Site},
};

const QUEUE: &str = "identity-cards/applications";
/// The number of a message that is not consumed.
const MESSAGE: u32 = 1_500;

/// A folder with all kinds of rows, and its server, which still runs.
async fn used() -> (Site, Server) {
    let site = Site::new();
    let server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    cli::succeed(&context, ["queue", "create", "identity-cards/failed"]);
    cli::succeed(&context, ["queue", "create", QUEUE, "--dead-letter-queue", "failed"]);
    let lines: String = (0..3000).map(|number| format!("{number:01000}\n")).collect();
    fs::write(site.path("lines"), lines).unwrap();
    let lines = site.path("lines");
    cli::succeed(&context, ["publish".as_ref(), QUEUE.as_ref(), "--file".as_ref(), lines.as_os_str()]);
    cli::succeed(&context, ["consume", QUEUE, "--count", "100"]);
    (site, server)
}

async fn stopped() -> Site {
    let (site, mut server) = used().await;
    server.terminate();
    assert!(server.ended().await.success());
    site
}

/// The exit code, and what was written to stdout and stderr.
fn check(dir: &Path) -> (i32, String, String) {
    // The context is not read.
    let output = cli::run(Path::new("none"), ["store".as_ref(), "check".as_ref(), dir.as_os_str()]);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn files(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let modified = entry.metadata().unwrap().modified().unwrap();
        if entry.metadata().unwrap().is_dir() {
            found.insert(entry.path(), (modified, Vec::new()));
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), (modified, fs::read(entry.path()).unwrap()));
        }
    }
    found
}

/// The offset of one of the messages in the file: a byte elsewhere may be padding, which is never read.
fn message_in(file: &Path) -> u64 {
    let (bytes, message) = (fs::read(file).unwrap(), format!("{MESSAGE:01000}"));
    let found = bytes.windows(message.len()).position(|bytes| bytes == message.as_bytes());
    found.unwrap_or_else(|| panic!("message {MESSAGE} is not in {}", file.display())) as u64
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn largest(dir: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|found| found == extension));
    files.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_folder_is_sound_and_untouched() {
    let site = stopped().await;
    let before = files(&site.data());
    let (code, printed, errors) = check(&site.data());
    assert_eq!((code, &*errors), (0, ""), "{printed}");
    assert!(printed.ends_with("is sound\n"), "{printed}");
    for part in ["node file", "log", "store", "catalogue", "shards", "store and log"] {
        assert!(
            printed.lines().any(|line| line.starts_with(&format!("ok      {part} "))),
            "{part}: {printed}"
        );
    }
    assert!(files(&site.data()) == before, "the folder was written to");
    let output = cli::run(
        Path::new("none"),
        ["store".as_ref(), "check".as_ref(), site.data().as_os_str(), "--max-rows".as_ref(), "10".as_ref()],
    );
    assert_eq!(output.status.code(), Some(65));
    assert!(String::from_utf8(output.stdout).unwrap().contains("give --max-rows"));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_log_is_ahead_and_that_is_no_damage() {
    let (site, mut server) = used().await;
    let (code, _, errors) = check(&site.data());
    assert_eq!(code, 75, "{errors}");
    assert!(errors.contains("a server runs on") && errors.contains("next: stop it first"), "{errors}");
    server.kill();
    let before = files(&site.data());
    let (code, printed, errors) = check(&site.data());
    assert_eq!(code, 0, "{printed}{errors}");
    assert!(printed.contains("the next start brings them into the store"), "{printed}");
    assert!(files(&site.data()) == before, "the folder was written to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_in_log_store_and_node_file() {
    let site = stopped().await;
    let dir = site.data();
    let segment = largest(&dir.join("log"), "segment");
    let message = message_in(&segment);
    flip(&segment, message);
    let (code, printed, errors) = check(&dir);
    assert_eq!(code, 65, "{printed}");
    assert!(printed.contains("DAMAGED log") && printed.contains(segment.to_str().unwrap()), "{printed}");
    assert!(
        printed.contains("next: confirmed messages may be missing") && errors.contains("1 problem"),
        "{printed}{errors}"
    );
    flip(&segment, message);

    let rows = largest(&dir.join("store"), "sst");
    let message = message_in(&rows);
    flip(&rows, message);
    let (code, printed, _) = check(&dir);
    assert_eq!(code, 65, "{printed}");
    let name = rows.file_name().unwrap().to_str().unwrap();
    assert!(printed.contains("DAMAGED store") && printed.contains(name), "{printed}");
    assert!(printed.contains("restore the whole folder from a backup"), "{printed}");
    flip(&rows, message);

    flip(&dir.join("NODE"), 40);
    let (code, printed, _) = check(&dir);
    assert!(code == 65 && printed.contains("DAMAGED node file"), "{printed}");
    flip(&dir.join("NODE"), 40);
    assert_eq!(check(&dir).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told() {
    let site = stopped().await;
    let dir = site.data();
    let (code, _, errors) = check(&site.path("nowhere"));
    assert!(code == 66 && errors.contains("name a data folder"), "{errors}");
    fs::create_dir(site.path("empty")).unwrap();
    let (code, _, errors) = check(&site.path("empty"));
    assert!(code == 66 && errors.contains("is no data folder"), "{errors}");
    assert!(fs::read_dir(site.path("empty")).unwrap().next().is_none());
    let rows = largest(&dir.join("store"), "sst");
    fs::rename(&rows, site.path("kept.sst")).unwrap();
    let (code, printed, _) = check(&dir);
    assert!(code == 65 && printed.contains(rows.file_name().unwrap().to_str().unwrap()), "{printed}");
    fs::rename(site.path("kept.sst"), &rows).unwrap();
    fs::rename(dir.join("log"), site.path("log")).unwrap();
    let (code, printed, _) = check(&dir);
    assert!(code == 65 && printed.contains("is gone"), "{printed}");
}
