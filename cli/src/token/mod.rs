//! `posthouse token inspect`: prints a token's contents. Nothing is verified, and the signature is never printed.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use posthouse_server::identity::malformed;

use crate::{args, dev::authority::thumbprint, exit::Exit, failure::Failure, stdio, stdout};
use decode::Decoded;

pub mod decode;
mod show;

/// Largest context or certificate file; it is read into memory.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Files that a context names.
struct ContextFiles {
    context: PathBuf,
    token_file: PathBuf,
    certificate: PathBuf,
}

/// Runs the command.
pub fn inspect(context: Option<&Path>, args: &args::TokenInspect) -> Result<(), Failure> {
    let files = context.map(context_files).transpose()?;
    let file = match (&args.file, &files) {
        (Some(file), _) => file.clone(),
        (None, Some(files)) => files.token_file.clone(),
        (None, None) => {
            return Err(Failure::new(
                Exit::Usage,
                "there is no token to look into",
                "name a file, - for stdin, or a context with --context FILE or POSTHOUSE_CONTEXT",
            ));
        }
    };
    let text = read(&file)?;
    let decoded = Decoded::of(&text).map_err(|error| {
        Failure::new(
            Exit::BadData,
            format!("{} holds no token: {error}", file.display()),
            "write one line with the token alone: three parts of base64url with dots between them",
        )
    })?;
    let certificate = match &files {
        Some(files) => Some(own_certificate(files)?),
        None => None,
    };
    let malformed = malformed(&text);
    stdout::text(show::text(&decoded, malformed.as_ref(), certificate.as_ref(), SystemTime::now()))
}

/// The context's certificate, to compare with the token's.
struct Certificate {
    context: PathBuf,
    thumbprint: String,
}

fn own_certificate(files: &ContextFiles) -> Result<Certificate, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        let what = format!("cannot read {}: {why}", files.certificate.display());
        Failure::new(Exit::Config, what, "correct `certificate` in the context, or leave --context out")
    };
    let pem = posthouse_text::read(&files.certificate, MAX_FILE_BYTES).map_err(|error| wrong(&error))?;
    let pem = posthouse_text::text(&pem).map_err(|error| wrong(&error))?;
    let thumbprint = thumbprint(pem).map_err(|error| wrong(&error))?;
    Ok(Certificate { context: files.context.clone(), thumbprint })
}

fn context_files(context: &Path) -> Result<ContextFiles, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        let what = format!("cannot use the context {}: {why}", context.display());
        Failure::new(Exit::Config, what, "correct it, or leave it out and name the token's file")
    };
    let bytes = posthouse_text::read(context, MAX_FILE_BYTES).map_err(|error| wrong(&error))?;
    let text = posthouse_text::text(&bytes).map_err(|error| wrong(&error))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(&error.message()))?;
    let folder = context.parent().unwrap_or_else(|| Path::new(""));
    let file = |key| match table.get(key).and_then(toml::Value::as_str) {
        Some(path) => Ok(folder.join(path)),
        None => Err(wrong(&format!("it has no `{key}`"))),
    };
    Ok(ContextFiles {
        context: context.to_owned(),
        token_file: file("token_file")?,
        certificate: file("certificate")?,
    })
}

/// Reads a little more than the longest token, to notice one that is too long: the file may be anything.
fn read(file: &Path) -> Result<String, Failure> {
    let limit = decode::MAX_BYTES as u64 + 1024;
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        stdio::stdin().and_then(|stdin| stdin.take(limit).read_to_end(&mut bytes))
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let exit = if missing { Exit::NoInput } else { Exit::Io };
        let what = format!("cannot read {}: {error}", file.display());
        Failure::new(exit, what, "name a token's file that exists, or - for stdin")
    })?;
    let text = posthouse_text::without_mark(&bytes).map_err(|error| {
        let what = format!("cannot read {}: {error}", file.display());
        Failure::new(Exit::BadData, what, "write one line with the token alone")
    })?;
    // Decoding refuses text that is not UTF-8.
    Ok(String::from_utf8_lossy(text).trim().to_owned())
}
