//! Pipes that another process has made non-blocking. The flag is the pipe's, so it must stay as it was.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _, pipe},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Stdio},
    time::Duration,
};

use posthouse_tests::harness::{binaries, cli, eventually};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{Fixture, QUEUE};

const LINES: usize = 5000;

fn lines() -> String {
    (0..LINES).map(|number| format!("{number:0200}\n")).collect()
}

fn make_non_blocking(end: impl AsFd) {
    let flags = fcntl_getfl(&end).unwrap();
    fcntl_setfl(&end, flags | OFlags::NONBLOCK).unwrap();
}

fn is_non_blocking(end: impl AsFd) -> bool {
    fcntl_getfl(end).unwrap().contains(OFlags::NONBLOCK)
}

/// Waits until the process sleeps in a system call that waits for a file: there is nothing to read, or a pipe is full.
async fn waits(child: &Child) {
    eventually("a command that waits for its pipe", async || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let mut tasks = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("syscall")));
        // poll and ppoll on x86-64, ppoll on others.
        tasks
            .any(|call| {
                call.is_ok_and(|call| ["7 ", "271 ", "73 "].iter().any(|poll| call.starts_with(poll)))
            })
            .then_some(())
    })
    .await;
}

async fn succeeds(child: Child) -> Vec<u8> {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_waits_for_a_writer_that_takes_its_time() {
    let fixture = Fixture::new().await;
    let (reader, mut writer) = pipe().unwrap();
    make_non_blocking(&reader);
    let ours = reader.try_clone().unwrap();
    let mut command = cli::command(&fixture.context, ["publish", QUEUE]);
    let child = command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    waits(&child).await;
    for (nth, line) in lines().split_inclusive('\n').enumerate() {
        writer.write_all(line.as_bytes()).unwrap();
        if nth % 1000 == 0 {
            waits(&child).await;
        }
    }
    assert!(is_non_blocking(&ours), "the flag of the shared pipe was changed");
    drop(writer);
    let printed = succeeds(child).await;
    assert_eq!(String::from_utf8(printed).unwrap(), format!("{{\"stored\": {LINES}}}\n"));
    let received = cli::succeed(&fixture.context, ["consume", QUEUE, "--until-empty"]);
    assert!(received == lines().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_waits_for_a_reader_that_takes_its_time() {
    let fixture = Fixture::new().await;
    let file = fixture.site.path("lines");
    std::fs::write(&file, lines()).unwrap();
    cli::succeed(&fixture.context, ["publish".as_ref(), QUEUE.as_ref(), "--file".as_ref(), file.as_os_str()]);
    let (reader, writer) = pipe().unwrap();
    make_non_blocking(&writer);
    let ours = writer.try_clone().unwrap();
    let mut command = cli::command(&fixture.context, ["consume", QUEUE, "--until-empty"]);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    // The pipe is full, and most of the lines are not written yet.
    waits(&child).await;
    assert!(is_non_blocking(&ours), "the flag of the shared pipe was changed");
    drop(ours);
    let mut reader = File::from(OwnedFd::from(reader));
    let received = tokio::task::spawn_blocking(move || {
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        received
    })
    .await
    .unwrap();
    succeeds(child).await;
    assert!(received == lines().as_bytes());
    assert_eq!(cli::succeed(&fixture.context, ["consume", QUEUE, "--until-empty"]), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_command_waits_too() {
    let fixture = Fixture::new().await;
    let bash = binaries::posthouse();
    let commands: [&[&str]; 4] =
        [&["completions", "zsh"], &["man"], &["--help"], &["queue", "list", "identity-cards"]];
    for arguments in commands {
        let expected = cli::succeed(&fixture.context, arguments);
        let (mut reader, writer) = pipe().unwrap();
        make_non_blocking(&writer);
        // Another process has filled it.
        let mut filler = File::from(OwnedFd::from(writer.try_clone().unwrap()));
        let mut filled = 0;
        loop {
            match filler.write(&[b'#'; 4096]) {
                Ok(written) => filled += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        drop(filler);
        let mut command = std::process::Command::new(&bash);
        command.arg("--context").arg(&fixture.context).args(arguments);
        let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        waits(&child).await;
        let received = tokio::task::spawn_blocking(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).map(|_| received).unwrap()
        });
        let received = tokio::time::timeout(Duration::from_secs(90), received).await.unwrap().unwrap();
        succeeds(child).await;
        assert!(received[filled..] == expected, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_queues_are_read_from_such_a_pipe_too() {
    let fixture = Fixture::new().await;
    let token = std::fs::read_to_string(fixture.context.with_extension("token")).unwrap();
    let queues = "[departments.identity-cards.queues.from-a-pipe]\n";
    for (arguments, text) in [(&["token", "inspect", "-"][..], &*token), (&["apply", "-f", "-"], queues)] {
        let (reader, mut writer) = pipe().unwrap();
        make_non_blocking(&reader);
        let mut command = cli::command(&fixture.context, arguments);
        let child = command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        waits(&child).await;
        writer.write_all(text.as_bytes()).unwrap();
        drop(writer);
        assert!(!succeeds(child).await.is_empty(), "{arguments:?}");
    }
}
