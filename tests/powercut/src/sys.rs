//! The system calls, raw: the C library's functions of these names are the ones this library replaces.

use std::{
    ffi::{CStr, c_char, c_int, c_long, c_void},
    path::PathBuf,
};

/// Makes a system call, setting `errno` as the C library would.
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        // SAFETY: the arguments are those the program gave for this very call, or are made here with live pointers.
        unsafe { libc::syscall($number $(, $argument as libc::c_long)*) }
    };
}
pub(crate) use call;

/// The identity of a file or folder for all time: inode numbers are used again, birth times are not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    inode: u64,
    born_seconds: i64,
    born_nanos: u32,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}.{:09}", self.inode, self.born_seconds, self.born_nanos)
    }
}

/// The kind of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Other,
}

/// The facts about a file that matter here.
pub(crate) struct Facts {
    pub(crate) id: Id,
    pub(crate) device: (u32, u32),
    pub(crate) kind: Kind,
    pub(crate) size: u64,
}

/// Facts about an open file.
pub(crate) fn facts_of(fd: c_int) -> Option<Facts> {
    statx(fd, c"", libc::AT_EMPTY_PATH)
}

/// Facts about a path, not following a link at its end.
pub(crate) fn facts_at(path: &CStr) -> Option<Facts> {
    statx(libc::AT_FDCWD, path, libc::AT_SYMLINK_NOFOLLOW)
}

fn statx(fd: c_int, path: &CStr, flags: c_int) -> Option<Facts> {
    let wanted = libc::STATX_TYPE | libc::STATX_INO | libc::STATX_SIZE | libc::STATX_BTIME;
    // SAFETY: all zeroes is a valid statx.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let result = call!(libc::SYS_statx, fd, path.as_ptr(), flags, wanted, &raw mut found);
    if result != 0 {
        return None;
    }
    let kind = match u32::from(found.stx_mode) & libc::S_IFMT {
        libc::S_IFREG => Kind::File,
        libc::S_IFDIR => Kind::Folder,
        _ => Kind::Other,
    };
    if kind != Kind::Other && found.stx_mask & libc::STATX_BTIME == 0 {
        return None;
    }
    Some(Facts {
        id: Id {
            inode: found.stx_ino,
            born_seconds: found.stx_btime.tv_sec,
            born_nanos: found.stx_btime.tv_nsec,
        },
        device: (found.stx_dev_major, found.stx_dev_minor),
        kind,
        size: found.stx_size,
    })
}

/// The path an open file has now; a deleted one's ends in " (deleted)".
pub(crate) fn path_of(fd: c_int) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// The position of an open file.
pub(crate) fn position(fd: c_int) -> u64 {
    u64::try_from(call!(libc::SYS_lseek, fd, 0, libc::SEEK_CUR)).unwrap_or(0)
}

/// The flags the file was opened with, without those only `open` knows.
pub(crate) fn flags(fd: c_int) -> c_int {
    c_int::try_from(call!(libc::SYS_fcntl, fd, libc::F_GETFL, 0)).unwrap_or(0)
}

/// The C library's own function of a name that this library also has.
pub(crate) fn next(name: &CStr) -> *mut c_void {
    // SAFETY: `name` ends in a zero byte.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

/// A path that the program passed, or `None` for a null pointer.
pub(crate) fn text<'a>(path: *const c_char) -> Option<&'a CStr> {
    // SAFETY: a path the program passes to the C library ends in a zero byte.
    (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) })
}

/// Ends the program, loudly: the tests must not go on with a model that is wrong.
pub(crate) fn refuse(what: &str) -> ! {
    let line = format!("posthouse-powercut: {what}\n");
    let _: c_long = call!(libc::SYS_write, libc::STDERR_FILENO, line.as_ptr(), line.len());
    std::process::abort()
}
