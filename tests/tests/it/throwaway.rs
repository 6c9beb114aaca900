//! `posthouse dev`: a server with everything it needs, in one folder that is kept over restarts.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
};

use posthouse_tests::harness::{binaries, cli, eventually, server::Server, site::Site};

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
    let printed = cli::succeed(
        &context,
        ["publish".as_ref(), queue.as_ref(), "--file".as_ref(), site.path("lines").as_os_str()],
    );
    assert_eq!(printed, b"{\"stored\": 2}\n");
    assert!(!server.log().contains("is valid for more than a year"), "{}", server.log());
    server.kill();

    let _server = dev(&site);
    ready(&context).await;
    assert_eq!(cli::succeed(&context, ["consume", queue, "--until-empty"]), b"one\ntwo\n");
    // Another agency sees none of it, and does not learn whether it exists.
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

/// Runs it on a folder that it must refuse, and returns its error.
fn refused(site: &Site, folder: &Path) -> String {
    refused_with(site, folder, "next: name a folder of your own")
}

fn refused_with(site: &Site, folder: &Path, next: &str) -> String {
    let mut command = Command::new(binaries::posthouse());
    command.arg("dev").arg("--dir").arg(folder).arg("--listen").arg(site.listen().to_string());
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(77), "{printed}");
    assert!(printed.contains(next), "{printed}");
    printed
}

/// The folder that a run of it leaves.
async fn prepared(site: &Site) -> std::path::PathBuf {
    let mut server = dev(site);
    ready(&site.path("dev/contexts/taxation.toml")).await;
    server.terminate();
    assert!(server.ended().await.success(), "{}", server.log());
    site.path("dev")
}

/// The user `nobody`. These tests run as root, which may change the owner of files.
const NOBODY: u32 = 65_534;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_another_users_is_trusted() {
    let site = Site::new();
    let folder = prepared(&site).await;
    for name in [
        "",
        "issuers",
        "data",
        "data/log",
        "data/store",
        "issuers/taxation.key",
        "authorities/taxation.pem",
        "server.key",
        ".posthouse-dev",
    ] {
        let path = folder.join(name);
        chown(&path, Some(NOBODY), None).unwrap();
        let printed = refused(&site, &folder);
        assert!(printed.contains("belongs to the user 65534"), "{name}: {printed}");
        chown(&path, Some(0), None).unwrap();
    }
    // Files that everybody could have written are created again after they are removed, with the certificates they
    // issued.
    for name in
        ["issuers/taxation.key", "authorities/taxation.key", "server-authority.key", "contexts/taxation.key"]
    {
        let key = folder.join(name);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o602)).unwrap();
        let printed = refused_with(&site, &folder, "next: remove it");
        assert!(printed.contains("others may have written it") && printed.contains(name), "{printed}");
        fs::remove_file(&key).unwrap();
        assert_eq!(prepared(&site).await, folder);
    }
    // A folder that another user has prepared under the name that the quick start names.
    let trap = site.path("trap");
    fs::create_dir(&trap).unwrap();
    fs::write(trap.join(".posthouse-dev"), "").unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o777)).unwrap();
    chown(&trap, Some(NOBODY), None).unwrap();
    assert!(refused(&site, &trap).contains("belongs to the user 65534"));
    // It starts once all files are its user's own again.
    assert_eq!(prepared(&site).await, folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_is_followed_out_of_the_folder() {
    let site = Site::new();
    let folder = prepared(&site).await;
    let victim = site.path("victim");
    fs::write(&victim, "untouched").unwrap();
    for name in ["posthouse.toml.draft", "contexts/taxation.token.draft", "posthouse.toml"] {
        let path = folder.join(name);
        // It may not exist.
        drop(fs::remove_file(&path));
        symlink(&victim, &path).unwrap();
    }
    assert_eq!(prepared(&site).await, folder);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    for name in ["issuers/taxation.key", "server.pem", "data", "data/store"] {
        let path = folder.join(name);
        let saved = site.path("aside");
        fs::rename(&path, &saved).unwrap();
        symlink(&saved, &path).unwrap();
        let printed = refused(&site, &folder);
        assert!(printed.contains("is a symbolic link") && printed.contains(name), "{printed}");
        fs::remove_file(&path).unwrap();
        fs::rename(&saved, &path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_where_others_can_rename_is_refused() {
    let site = Site::new();
    let shared = site.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refused(&site, &shared.join("dev")).contains("can be written to by everybody"));
    assert!(!shared.join("dev").exists());
    assert!(refused(&site, &shared.join("a/b")).contains("can be written to by everybody"));
}
