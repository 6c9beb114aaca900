//! Every failure is reported with the system's own words for it.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use posthouse::dev::{
    authority::{Authority, Leaf},
    spiffe_id,
};
use posthouse_tests::harness::{
    binaries, cli,
    server::Server,
    site::{CIVIL, Credentials, Site},
};

use super::QUEUE;

/// Fails unless the command ended with this code and named its cause.
#[track_caller]
fn assert_says(output: &Output, code: i32, words: &[&str]) {
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{printed}");
    for words in words {
        assert!(printed.contains(words), "{words:?} is not in {printed}");
    }
    // The last words are the system's own, and are reported once.
    let own = words.last().unwrap();
    assert_eq!(printed.matches(own).count(), 1, "{own:?} is told more than once in {printed}");
}

fn posthouse(arguments: &[&str]) -> Output {
    Command::new(binaries::posthouse()).args(arguments).env_remove("POSTHOUSE_CONTEXT").output().unwrap()
}

/// Runs the binary in a mount namespace of its own, after a script has mounted something.
fn mounted(script: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        &format!("{script}; exec \"$0\" \"$@\""),
    ]);
    command.arg(binaries::posthouse()).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn of_a_folder_that_cannot_be_written() {
    let site = Site::new();
    let (state, config) = (site.state(), site.config());
    let read_only = format!("mount -t tmpfs -o ro tmpfs {}", text(&state));
    let serve = ["serve", "--config", text(&config)];
    assert_says(
        &mounted(&read_only, &serve),
        74,
        &["could not make the folder", "state/data", "Read-only file system"],
    );
    let dev = state.join("dev");
    let listen = site.listen().to_string();
    let dev = ["dev", "--dir", text(&dev), "--listen", &listen];
    assert_says(&mounted(&read_only, &dev), 74, &["Read-only file system"]);
    let man = state.join("man");
    assert_says(&mounted(&read_only, &["man", "--dir", text(&man)]), 74, &["Read-only file system"]);
    // Once more, with the folder there.
    fs::create_dir(site.data()).unwrap();
    assert_says(
        &mounted(&format!("mount -t tmpfs -o ro tmpfs {}", text(&site.data())), &serve),
        74,
        &["Read-only file system"],
    );
    assert_says(&posthouse(&["man", "--dir", text(&config)]), 74, &["File exists"]);
}

#[test]
fn of_a_disk_that_is_full() {
    let site = Site::new();
    let config = site.config();
    let full = format!("mount -t tmpfs -o size=64k tmpfs {}", text(&site.state()));
    // RocksDB itself repeats the words.
    let output = mounted(&full, &["serve", "--config", text(&config)]);
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(74) && printed.contains("No space left on device"), "{printed}");
    for arguments in [&["man"][..], &["completions", "bash"]] {
        let mut shell = Command::new("sh");
        let output =
            shell.args(["-c", "exec \"$0\" \"$@\" > /dev/full"]).arg(binaries::posthouse()).args(arguments);
        assert_says(&output.output().unwrap(), 74, &["writing to stdout failed", "No space left on device"]);
    }
}

#[test]
fn of_a_file_that_is_not_there() {
    let site = Site::new();
    let context = site.context_file(CIVIL);
    let none = "No such file or directory";
    assert_says(
        &posthouse(&["serve", "--config", "/nowhere/posthouse.toml"]),
        78,
        &["/nowhere/posthouse.toml", none],
    );
    assert_says(
        &posthouse(&["--context", "/nowhere/context.toml", "ping"]),
        78,
        &["/nowhere/context.toml", none],
    );
    assert_says(&posthouse(&["store", "check", "/nowhere/data"]), 66, &["/nowhere/data", none]);
    for arguments in [
        &["publish", QUEUE, "--file", "/nowhere/lines"][..],
        &["apply", "-f", "/nowhere/queues.toml"],
        &["token", "inspect", "/nowhere/token"],
    ] {
        assert_says(&cli::run(&context, arguments), 66, &["/nowhere/", none]);
    }
    for name in ["pem", "key", "token"] {
        let context = site.context_file(CIVIL);
        fs::remove_file(context.with_extension(name)).unwrap();
        assert_says(&cli::run(&context, ["ping"]), 78, &["cannot read", none]);
    }
    site.configure(&[("[identity]", "[access]\nfile = \"nowhere/access.log\"\n[identity]")]);
    let config = site.config();
    for more in [&[][..], &["--check"]] {
        let arguments = [&["serve", "--config", text(&config)], more].concat();
        assert_says(&posthouse(&arguments), 78, &["access.file", "nowhere/access.log cannot be made", none]);
    }
}

#[test]
fn of_rights_that_are_missing() {
    let site = Site::new();
    let context = site.context_file(CIVIL);
    // Everybody may read the folder and run the binary, but not read these files.
    fs::set_permissions(site.path(""), Permissions::from_mode(0o755)).unwrap();
    let binary = site.path("posthouse");
    fs::copy(binaries::posthouse(), &binary).unwrap();
    let secret = site.path("secret");
    fs::write(&secret, "x").unwrap();
    for path in [&secret, &site.config(), &context] {
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(site.state(), Permissions::from_mode(0o700)).unwrap();
    let readable = site.context_file(CIVIL);
    let denied = |code, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary);
        assert_says(&command.args(arguments).output().unwrap(), code, &["Permission denied"]);
    };
    denied(78, &["serve", "--config", text(&site.config())]);
    denied(78, &["--context", text(&context), "ping"]);
    denied(74, &["--context", text(&readable), "apply", "-f", text(&secret)]);
    denied(74, &["token", "inspect", text(&secret)]);
    denied(74, &["store", "check", text(&site.data())]);
    denied(74, &["dev", "--dir", text(&site.state().join("dev"))]);
    denied(74, &["man", "--dir", text(&site.state().join("man"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_server_that_cannot_be_reached() {
    let site = Site::new();
    let context = site.context_file(CIVIL);
    assert_says(&cli::run(&context, ["ping"]), 69, &["cannot reach", "Connection refused"]);
    let elsewhere = |endpoint: &str| -> PathBuf {
        let context = site.context_file(CIVIL);
        let written = fs::read_to_string(&context).unwrap();
        fs::write(&context, written.replace(&site.listen().to_string(), endpoint)).unwrap();
        context
    };
    let lost = elsewhere("no-such-host.invalid:7443");
    assert_says(
        &cli::run(&lost, ["ping"]),
        69,
        &["cannot reach no-such-host.invalid:7443", "failed to lookup address"],
    );
    for arguments in [&["publish", QUEUE][..], &["consume", QUEUE], &["queue", "list", "identity-cards"]] {
        assert_says(&cli::run(&context, arguments), 69, &["cannot reach", "Connection refused"]);
    }

    // Another program listens there, and closes connections at once.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let context = elsewhere(&other.local_addr().unwrap().to_string());
    let hanging_up = std::thread::spawn(move || drop(other.accept().unwrap()));
    let output = cli::run(&context, ["ping"]);
    hanging_up.join().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(69) && printed.contains("cannot reach"), "{printed}");
    assert!(printed.contains("eof") || printed.contains("reset"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_handshake_that_fails() {
    let site = Site::new();
    let server = Server::start(&site).await;
    // The client does not trust the server.
    let context = site.context_file(CIVIL);
    let stranger = Authority::new("a stranger").unwrap();
    fs::write(site.path("contexts/stranger.pem"), stranger.certificate_pem()).unwrap();
    let written = fs::read_to_string(&context).unwrap();
    fs::write(&context, written.replace("../server-authority.pem", "stranger.pem")).unwrap();
    assert_says(&cli::run(&context, ["ping"]), 69, &["TLS with", "invalid peer certificate: UnknownIssuer"]);
    // The certificate does not have the name.
    let context = site.context_file(CIVIL);
    fs::write(&context, written.replace("\"localhost\"", "\"elsewhere.example\"")).unwrap();
    assert_says(&cli::run(&context, ["ping"]), 69, &["not valid for name \"elsewhere.example\""]);
    // The server does not trust the client, and sends an alert.
    let certificate = stranger.issue(&Leaf::client(&spiffe_id(CIVIL))).unwrap();
    let token = site.mint(CIVIL, &site.claims(CIVIL, &certificate));
    let context = site.write_context(CIVIL, &Credentials { certificate, token });
    for arguments in [&["ping"][..], &["publish", QUEUE], &["consume", QUEUE]] {
        assert_says(&cli::run(&context, arguments), 69, &["received fatal alert: UnknownCA"]);
    }
    drop(server);
}

#[test]
fn of_an_address_that_is_taken() {
    let site = Site::new();
    let other_listener = TcpListener::bind(site.management()).unwrap();
    let config = site.config();
    let serve = ["serve", "--config", text(&config)];
    assert_says(
        &posthouse(&serve),
        69,
        &["cannot listen on the management address", "Address already in use"],
    );
    drop(other_listener);
    let _other_listener = TcpListener::bind(site.listen()).unwrap();
    assert_says(&posthouse(&serve), 69, &["cannot listen on", "Address already in use"]);
}
