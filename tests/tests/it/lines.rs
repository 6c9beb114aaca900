//! A hundred thousand lines of 1 KiB, published and consumed by the command line.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::Path,
    process::Stdio,
};

use posthouse_tests::harness::{
    cli,
    server::Server,
    site::{CIVIL, Site},
};

const LINES: usize = 100_000;
const QUEUE: &str = "household-registry/lines";

/// Lines of 1 KiB, of every byte but the line feed, all different.
fn write_lines(path: &Path) {
    let mut file = std::io::BufWriter::new(File::create(path).unwrap());
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut line = Vec::with_capacity(1025);
    for number in 0..LINES {
        line.clear();
        write!(line, "{number:08} ").unwrap();
        while line.len() < 1024 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let byte = state.to_be_bytes()[0];
            line.push(if byte == b'\n' { b'\r' } else { byte });
        }
        line.push(b'\n');
        file.write_all(&line).unwrap();
    }
    file.flush().unwrap();
}

fn publish(context: &Path, file: &Path) {
    let printed =
        cli::succeed(context, ["publish".as_ref(), QUEUE.as_ref(), "--file".as_ref(), file.as_os_str()]);
    let printed: serde_json::Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(printed, serde_json::json!({ "stored": LINES }));
}

fn consume(context: &Path, output: &Path) -> std::process::Child {
    let mut command = cli::command(context, ["consume", QUEUE, "--until-empty", "--output", "payload"]);
    command.stdout(File::create(output).unwrap()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait(consumer: std::process::Child) {
    let output = consumer.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// How often each line occurs.
fn count(text: &[u8]) -> BTreeMap<&[u8], u32> {
    let mut lines = BTreeMap::new();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        *lines.entry(line).or_insert(0) += 1;
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_lines_come_out_as_they_went_in() {
    let site = Site::new();
    let _server = Server::start(&site).await;
    let context = site.context_file(CIVIL);
    cli::succeed(&context, ["queue", "create", QUEUE]);
    let sent = site.path("sent");
    write_lines(&sent);
    let sent_bytes = fs::read(&sent).unwrap();

    publish(&context, &sent);
    let received = site.path("came");
    wait(consume(&context, &received));
    // Not assert_eq, which would print them.
    assert!(fs::read(&received).unwrap() == sent_bytes, "one consumer: the lines differ, or their order");

    publish(&context, &sent);
    let outputs: Vec<_> = (0..8).map(|number| site.path(&format!("came-{number}"))).collect();
    let consumers: Vec<_> = outputs.iter().map(|output| consume(&context, output)).collect();
    consumers.into_iter().for_each(wait);
    let received: Vec<u8> = outputs.iter().flat_map(|output| fs::read(output).unwrap()).collect();
    assert!(count(&received) == count(&sent_bytes), "eight consumers: the lines differ");
}
