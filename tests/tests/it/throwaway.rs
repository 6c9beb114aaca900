//! `posthouse dev`: a server with everything it needs, in one folder, kept over restarts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use posthouse_tests::harness::cli;
use posthouse_tests::harness::eventually;
use posthouse_tests::harness::server::Server;
use posthouse_tests::harness::{binaries, site::Site};

fn dev(site: &Site) -> Server {
    let mut command = Command::new(binaries::posthouse());
    command.arg("dev").arg("--dir").arg(site.path("dev")).arg("--listen").arg(site.listen().to_string());
    Server::run(site, command)
}

async fn ready(context: &Path) {
    let ping = || async { cli::run(context, ["ping"]).status.success().then_some(()) };
    eventually("a ping", ping).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_and_keeps_its_messages() {
    let site = Site::new();
    let context = site.path("dev/contexts/civil-affairs.toml");
    let mut server = dev(&site);
    ready(&context).await;
    let queue = "identity-cards/applications";
    cli::succeed(&context, ["queue", "create", queue]);
    fs::write(site.path("lines"), "one\ntwo\n").unwrap();
    let told = cli::succeed(
        &context,
        ["publish".as_ref(), queue.as_ref(), "--file".as_ref(), site.path("lines").as_os_str()],
    );
    assert_eq!(told, b"{\"stored\": 2}\n");
    server.kill();

    let _server = dev(&site);
    ready(&context).await;
    assert_eq!(cli::succeed(&context, ["consume", queue, "--until-empty"]), b"one\ntwo\n");
    // Another agency sees none of it, and cannot tell whether it is there.
    let other = site.path("dev/contexts/taxation.toml");
    let foreign = "tenants/civil-affairs/departments/identity-cards/queues/";
    let existing = cli::run(&other, ["queue", "describe", &format!("{foreign}applications")]);
    let missing = cli::run(&other, ["queue", "describe", &format!("{foreign}applicationz")]);
    assert_eq!(existing.status.code(), Some(77));
    assert_eq!(missing.status.code(), Some(77));
    let without_names = |text: &[u8]| String::from_utf8_lossy(text).replace("applicationz", "applications");
    assert_eq!(without_names(&existing.stderr), without_names(&missing.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn its_keys_are_its_owners_only() {
    let site = Site::new();
    let _server = dev(&site);
    ready(&site.path("dev/contexts/taxation.toml")).await;
    for folder in ["", "contexts", "authorities", "issuers"] {
        for entry in fs::read_dir(site.path("dev").join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".key") || name.ends_with(".token") {
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
            }
        }
    }
}

#[test]
fn it_listens_on_loopback_only() {
    let site = Site::new();
    let output = Command::new(binaries::posthouse())
        .arg("dev")
        .arg("--dir")
        .arg(site.path("dev"))
        .args(["--listen", "0.0.0.0:7443"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(!site.path("dev").exists());
}
