//! Files with messages, tokens or keys can be read by their owner only.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use posthouse::dev::{SERVER_NAME, authority::Leaf};
use posthouse_tests::harness::{
    binaries, cli, eventually,
    scene::Scene,
    server::Server,
    site::{CIVIL, Site},
};

/// A command under a umask of 0.
fn open_handed(arguments: &[&Path]) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(binaries::posthouse()).args(arguments);
    shell
}

/// Every file and folder below one that others can read, with its mode.
fn readable_by_others(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        if mode & 0o077 != 0 {
            found.push((path.clone(), mode & 0o777));
        }
        if path.is_dir() {
            found.extend(readable_by_others(&path));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_files_are_its_own_whatever_the_umask() {
    let site = Site::with_sections("[access]\nfile = \"access.jsonl\"\n");
    let mut server =
        Server::run(&site, open_handed(&["serve".as_ref(), "--config".as_ref(), &site.config()]));
    server.ready(&site).await;
    let caller = posthouse_tests::harness::wire::Caller::connect(&site, &site.credentials(CIVIL)).await;
    let credentials = site.credentials(CIVIL);
    let mut scene = Scene { site, server, caller, credentials };
    let queue = scene.plain_queue("q").await;
    scene.publish(&queue, &["a", "b"]).await;
    // The stop writes the store's files.
    scene.server.terminate();
    assert_eq!(scene.server.ended().await.code(), Some(0));
    let data = scene.site.data();
    assert!(
        fs::read_dir(data.join("store")).unwrap().count() > 3
            && fs::read_dir(data.join("log")).unwrap().count() > 0
    );
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(readable_by_others(&data), []);
    assert_eq!(fs::metadata(scene.site.path("access.jsonl")).unwrap().permissions().mode() & 0o777, 0o600);

    // Checking the folder creates nothing that others can read, either.
    let checked = open_handed(&["store".as_ref(), "check".as_ref(), &data]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(readable_by_others(&data), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_are_those_of_a_throwaway_server() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("dev");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command =
        open_handed(&["dev".as_ref(), "--dir".as_ref(), &folder, "--listen".as_ref(), port.as_ref()]);
    let mut child = command.spawn().unwrap();
    let context = folder.join("contexts").join(format!("{CIVIL}.toml"));
    eventually("a throwaway server", async || {
        (context.exists() && cli::run(&context, ["ping"]).status.success()).then_some(())
    })
    .await;
    let found = readable_by_others(&folder);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tokens_that_others_can_read_are_warned_of() {
    let chmod = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let site = Site::new();
    let check = || {
        let mut command = Command::new(binaries::posthouse());
        command.args(["serve", "--check", "--config"]).arg(site.config()).output().unwrap()
    };
    // Readable by a group of this process, as containers receive secrets.
    for fine in [0o600, 0o640, 0o440] {
        chmod(&site.path("server.key"), fine);
        assert!(!String::from_utf8(check().stdout).unwrap().contains("can be read"), "{fine:o}");
    }
    chmod(&site.path("server.key"), 0o644);
    let checked = check();
    let printed = String::from_utf8(checked.stdout).unwrap();
    assert!(
        checked.status.success() && printed.contains("server.key can be read by everybody (mode 0644)"),
        "{printed}"
    );
    let scene = Scene::on(site).await;
    scene.server.logged("server.key can be read by everybody").await;
    // The same when another file is read.
    let issued = scene.site.server_authority_itself().issue(&Leaf::server(&[SERVER_NAME], &[])).unwrap();
    fs::write(scene.site.path("server.key"), &issued.key_pem).unwrap();
    fs::write(scene.site.path("server.pem"), &issued.certificate_pem).unwrap();
    eventually("a warning of the new one", async || {
        (scene.server.log().matches("server.key can be read by everybody").count() == 2).then_some(())
    })
    .await;

    let context = scene.site.context_file(CIVIL);
    assert_eq!(cli::run(&context, ["ping"]).stderr, b"");
    for file in ["key", "token"] {
        let path = context.with_extension(file);
        chmod(&path, 0o644);
        let output = cli::run(&context, ["ping"]);
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.success()
                && printed.contains(&format!("{} can be read by everybody", path.display())),
            "{printed}"
        );
        chmod(&path, 0o640);
        assert_eq!(cli::run(&context, ["ping"]).stderr, b"");
    }
    // Readable by another group.
    if std::os::unix::fs::chown(context.with_extension("key"), None, Some(54_321)).is_ok() {
        let printed = String::from_utf8(cli::run(&context, ["ping"]).stderr).unwrap();
        assert!(printed.contains("can be read by group 54321"), "{printed}");
    }
}
