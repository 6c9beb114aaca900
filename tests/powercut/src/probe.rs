//! Does to files what the power-cut library's own tests need done.
//!
//! Each argument is one step, in order: `write PATH TEXT`, `append PATH TEXT`, `at PATH OFFSET TEXT`, `truncate PATH
//! SIZE`, `sync PATH`, `rename PATH PATH`, `remove PATH`, `folder PATH`, `allocate PATH SIZE`, `copy PATH PATH`, `map
//! PATH`, `through PATH TEXT` (O_DSYNC), `threads FOLDER COUNT` (each writes and syncs files of its own). Paths and
//! texts have no spaces.
#![allow(unsafe_code, reason = "maps a file, which only the C library can")]

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
};

fn main() -> io::Result<()> {
    for step in std::env::args().skip(1) {
        let words: Vec<&str> = step.split(' ').collect();
        perform(&words)?;
    }
    Ok(())
}

fn perform(words: &[&str]) -> io::Result<()> {
    match *words {
        ["write", path, text] => File::create(path)?.write_all(text.as_bytes()),
        ["append", path, text] => File::options().append(true).open(path)?.write_all(text.as_bytes()),
        ["at", path, offset, text] => writable(path)?.write_all_at(text.as_bytes(), number(offset)?),
        ["truncate", path, size] => writable(path)?.set_len(number(size)?),
        ["sync", path] => File::open(path)?.sync_all(),
        ["rename", old, new] => fs::rename(old, new),
        ["remove", path] => fs::remove_file(path),
        ["folder", path] => fs::create_dir(path),
        ["allocate", path, size] => allocate(&writable(path)?, number(size)?),
        ["copy", old, new] => fs::copy(old, new).map(|_| ()),
        ["map", path] => map(path),
        ["through", path, text] => {
            let mut file = File::options().write(true).custom_flags(libc::O_DSYNC).open(path)?;
            file.write_all(text.as_bytes())
        }
        ["threads", folder, count] => threads(folder, number(count)?),
        _ => Err(io::Error::other(format!("no such step: {words:?}"))),
    }
}

fn writable(path: &str) -> io::Result<File> {
    File::options().write(true).open(path)
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(io::Error::other)
}

fn allocate(file: &File, size: u64) -> io::Result<()> {
    let size = libc::off_t::try_from(size).map_err(io::Error::other)?;
    // SAFETY: takes numbers only.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn map(path: &str) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let both = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping that nothing else knows.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 1, both, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn threads(folder: &str, count: u64) -> io::Result<()> {
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..count).map(|thread| scope.spawn(move || churn(folder, thread))).collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().map_err(|_| io::Error::other("a thread failed"))?)
    })
}

/// Writes, syncs, renames and removes, and leaves one file whose every synced byte is known.
fn churn(folder: &str, thread: u64) -> io::Result<()> {
    let path = format!("{folder}/{thread}");
    let mut file = File::create(&path)?;
    for round in 0..50 {
        let passing = format!("{folder}/{thread}-{round}");
        fs::write(&passing, "passing")?;
        fs::rename(&passing, format!("{passing}-renamed"))?;
        writeln!(file, "{round}")?;
        file.sync_data()?;
        fs::remove_file(format!("{passing}-renamed"))?;
        File::open(folder)?.sync_all()?;
    }
    write!(file, "lost")
}
