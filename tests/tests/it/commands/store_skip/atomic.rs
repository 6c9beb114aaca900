//! A skip is done as a whole or not at all.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    time::{Duration, Instant},
};

use posthouse_tests::harness::{binaries, cli, log::append};
use rand::RngExt as _;

use super::{Two, copy_folder, files, skip, skipped, start, stopped, store};

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_all_of_it_is_done_or_nothing() {
    let (mut scene, two) = stopped().await;
    let data = scene.site.data();
    // A killed server leaves batches that are only in the log.
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
        let (code, printed, errors) = skip(&copy, two.shard.0, found.index, &found.digest);
        assert_eq!(code, 0, "{printed}{errors}");
        *(if printed.contains("it is done already") { &mut done } else { &mut undone }) += 1;
        let (code, printed, errors) = store(&["check", copy.to_str().unwrap()]);
        assert_eq!(code, 0, "{printed}{errors}");
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
    // The user may read all of it and write nothing.
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
