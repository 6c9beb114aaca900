//! Calls that change the bytes of files.

use std::ffi::{c_char, c_int, c_uint, c_void};

use libc::{iovec, off_t, size_t, ssize_t};

use crate::{
    mirror::Extent,
    sys::{self, call},
    tracker,
};

fn wrote(fd: c_int, offset: Option<off_t>, result: i64) -> ssize_t {
    if let Ok(count @ 1..) = u64::try_from(result) {
        tracker::with(|tracker| {
            tracker.wrote(fd, offset.and_then(|offset| u64::try_from(offset).ok()), count)
        });
    }
    result as ssize_t
}

fn changed(fd: c_int, extent: Extent) {
    tracker::with(|tracker| tracker.changed(fd, extent));
}

fn from(start: off_t) -> Extent {
    Extent { start: u64::try_from(start).unwrap_or(0), end: u64::MAX }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    wrote(fd, None, call!(libc::SYS_write, fd, bytes, count))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, pieces: *const iovec, count: c_int) -> ssize_t {
    wrote(fd, None, call!(libc::SYS_writev, fd, pieces, count))
}

/// Defines one function under its two names, with and without large files.
macro_rules! twice {
    ($name:ident, $large:ident = $arguments:tt -> $result:ty $body:block) => {
        twice!(@ $name = $arguments -> $result $body);
        twice!(@ $large = $arguments -> $result $body);
    };
    (@ $name:ident = ($($argument:ident: $kind:ty),*) -> $result:ty $body:block) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $kind),*) -> $result $body
    };
}

twice!(pwrite, pwrite64 = (fd: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    wrote(fd, Some(offset), call!(libc::SYS_pwrite64, fd, bytes, count, offset))
});

twice!(pwritev, pwritev64 = (fd: c_int, pieces: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    wrote(fd, Some(offset), call!(libc::SYS_pwritev, fd, pieces, count, offset, 0))
});

twice!(pwritev2, pwritev64v2 = (
    fd: c_int, pieces: *const iovec, count: c_int, offset: off_t, flags: c_int
) -> ssize_t {
    let result = call!(libc::SYS_pwritev2, fd, pieces, count, offset, 0, flags);
    let count = wrote(fd, (offset != -1).then_some(offset), result);
    if count > 0 && flags & (libc::RWF_DSYNC | libc::RWF_SYNC) != 0 {
        tracker::with(|tracker| tracker.synced(fd));
    }
    count
});

twice!(ftruncate, ftruncate64 = (fd: c_int, size: off_t) -> c_int {
    let before = sys::facts_of(fd).map_or(0, |facts| facts.size);
    let result = call!(libc::SYS_ftruncate, fd, size) as c_int;
    if result == 0 {
        changed(fd, from(size.min(off_t::try_from(before).unwrap_or(off_t::MAX))));
    }
    result
});

twice!(truncate, truncate64 = (path: *const c_char, size: off_t) -> c_int {
    let fd = call!(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_WRONLY | libc::O_CLOEXEC) as c_int;
    if fd < 0 {
        return -1;
    }
    tracker::with(|tracker| tracker.opened(fd, libc::O_WRONLY));
    // SAFETY: the function accepts any numbers.
    let result = unsafe { ftruncate(fd, size) };
    call!(libc::SYS_close, fd);
    result
});

fn allocate(fd: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int {
    if mode & (libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE) != 0
        && tracker::with(|tracker| tracker.watches(fd)) == Some(true)
    {
        sys::refuse("collapsing and inserting ranges is not modelled");
    }
    let result = call!(libc::SYS_fallocate, fd, mode, offset, length) as c_int;
    let zeroes = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
    // Space allocated beyond the end or within the file changes no byte; a longer file shows by its length.
    if result == 0 && mode & zeroes != 0 {
        let start = u64::try_from(offset).unwrap_or(0);
        changed(fd, Extent { start, end: start.saturating_add(u64::try_from(length).unwrap_or(0)) });
    }
    result
}

twice!(fallocate, fallocate64 = (fd: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int {
    allocate(fd, mode, offset, length)
});

twice!(posix_fallocate, posix_fallocate64 = (fd: c_int, offset: off_t, length: off_t) -> c_int {
    if allocate(fd, 0, offset, length) == 0 {
        return 0;
    }
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
});

#[unsafe(no_mangle)]
unsafe extern "C" fn copy_file_range(
    from: c_int,
    from_offset: *mut i64,
    to: c_int,
    to_offset: *mut i64,
    count: size_t,
    flags: c_uint,
) -> ssize_t {
    let result = call!(libc::SYS_copy_file_range, from, from_offset, to, to_offset, count, flags);
    changed(to, Extent::ALL);
    result as ssize_t
}

#[unsafe(no_mangle)]
unsafe extern "C" fn splice(
    from: c_int,
    from_offset: *mut i64,
    to: c_int,
    to_offset: *mut i64,
    count: size_t,
    flags: c_uint,
) -> ssize_t {
    let result = call!(libc::SYS_splice, from, from_offset, to, to_offset, count, flags);
    changed(to, Extent::ALL);
    result as ssize_t
}

twice!(sendfile, sendfile64 = (to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    let result = call!(libc::SYS_sendfile, to, from, offset, count);
    changed(to, Extent::ALL);
    result as ssize_t
});
