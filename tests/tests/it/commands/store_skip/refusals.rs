//! Entries that are not skipped: they do not halt their shard, or setting one department aside would not help.

use std::fs;

use posthouse_engine::{
    limits::MACHINE_VERSION,
    schema::{Advance, Batch, Command, ConfigureDepartment, Publish},
};
use posthouse_tests::harness::{
    log::{append, append_bytes, batch, departments},
    site::CIVIL,
};

use super::{SHARDS, copy_folder, malformed, refused, skip, skipped, stopped};

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
    // The data folder is read from the environment if no option names it.
    let printed = skipped(&data, shard, entry);
    // The next entry names the same department: its commands are refused now, and halt nothing.
    assert!(printed.contains("start the server"), "{printed}");
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
        // The department's command is not what halts.
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
    // An entry with other commands beside one of the department.
    let mixed = batch(shard, vec![advance(), malformed(two.named.1), advance(), malformed(two.named.1)]);
    let found = append(&data, shard, &[mixed]).remove(0);
    assert!(skipped(&data, shard, &found).contains("none of its 4 commands is done"));
    // What the catalogue says of a department may halt its shard, too. It is said again at every start, and is refused
    // then.
    let copy = scene.site.path("copy");
    copy_folder(&data, &copy);
    let (department, catalogue_index) = (other, 1 << 40);
    let moved = ConfigureDepartment { department, catalogue_index, tenant: 99, closed: false };
    let found = append(&copy, shard, &[batch(shard, vec![Command::ConfigureDepartment(moved)])]).remove(0);
    assert!(skipped(&copy, shard, &found).contains("moved to tenant"));
    fs::remove_dir_all(copy).unwrap();
    // A shard that is not halted.
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
