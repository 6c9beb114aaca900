//! Standard streams that are closed, full, or not read.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use posthouse::dev::{
    SERVER_NAME,
    authority::{Issued, Leaf},
};
use posthouse_tests::harness::{
    binaries, eventually, pipes,
    scene::Scene,
    server::Server,
    site::{CIVIL, Site, write_secret},
    tls,
    wire::Caller,
};
use rustls::version::TLS13;

mod command_line;
mod limits;
mod program_log;
mod records;
mod sinks;
mod under_load;

/// The kinds of stderr.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stderr {
    /// Not open at all.
    Closed,
    /// A full device.
    Full,
    /// A pipe whose reader was closed.
    Abandoned,
    /// A full pipe that is not read.
    Unread,
    /// A full pipe that another process made non-blocking.
    Nonblocking,
}

impl Stderr {
    const ALL: [Self; 5] = [Self::Closed, Self::Full, Self::Abandoned, Self::Unread, Self::Nonblocking];

    /// The stream for a child, and the pipe's reader, which the caller has to keep.
    fn stream(self) -> (Stdio, Option<std::io::PipeReader>) {
        match self {
            // The shell closes it.
            Self::Closed => (Stdio::null(), None),
            Self::Full => (File::options().write(true).open("/dev/full").unwrap().into(), None),
            Self::Abandoned => (std::io::pipe().unwrap().1.into(), None),
            Self::Unread | Self::Nonblocking => {
                let (reader, writer, _) = pipes::full();
                pipes::nonblocking(&writer, self == Self::Nonblocking);
                (writer.into(), Some(reader))
            }
        }
    }

    /// A command with this stderr; the stream itself is passed to it apart.
    fn command(self, command: &Command) -> Command {
        let closed = if self == Self::Closed { " 2>&-" } else { "" };
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec \"$0\" \"$@\"{closed}"));
        shell.arg(command.get_program()).args(command.get_args());
        shell
    }
}

fn serve(site: &Site) -> Command {
    let mut command = Command::new(binaries::posthouse());
    command.arg("serve").arg("--config").arg(site.config()).env("POSTHOUSE_LOG", "trace");
    command
}

/// A server that logs at the finest level, with this stderr.
async fn start(site: Site, stderr: Stderr) -> (Scene, Option<std::io::PipeReader>) {
    let (stream, reader) = stderr.stream();
    let mut command = stderr.command(&serve(&site));
    command.env("POSTHOUSE_LOG", "trace");
    let mut server = Server::run_with_streams(&site, command, None, stream);
    let credentials = site.credentials(CIVIL);
    server.ready_for(&site, &credentials).await;
    let caller = Caller::connect(&site, &credentials).await;
    (Scene { site, server, caller, credentials }, reader)
}

/// The server's certificate.
async fn shown(site: &Site) -> Vec<u8> {
    let config = tls::config(site, &[&TLS13], Some(&site.certificate(CIVIL)));
    let stream = tls::connect(site, config).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Replaces the server's certificate, and waits until the server uses it.
async fn renew(site: &Site) {
    let issued: Issued = site.server_authority_itself().issue(&Leaf::server(&[SERVER_NAME], &[])).unwrap();
    write_secret(&site.path("server.key"), &issued.key_pem);
    fs::write(site.path("server.pem"), &issued.certificate_pem).unwrap();
    let expected = issued.certificate_der().unwrap().to_vec();
    eventually("the new certificate", async || (shown(site).await == expected).then_some(())).await;
}
