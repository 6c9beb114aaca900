//! Calls that are not modelled. They end the program if they concern the watched folder.

use std::ffi::{CStr, c_char, c_int, c_void};

use libc::{FILE, off_t, size_t};

use crate::{
    sys::{self, call},
    tracker,
};

fn mapped(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    let shared = flags & libc::MAP_TYPE != libc::MAP_PRIVATE && flags & libc::MAP_ANONYMOUS == 0;
    if shared
        && protection & libc::PROT_WRITE != 0
        && tracker::with(|tracker| tracker.watches(fd)) == Some(true)
    {
        sys::refuse("writing to a file by a shared mapping is not modelled");
    }
    call!(libc::SYS_mmap, address, length, protection, flags, fd, offset) as *mut c_void
}

macro_rules! mmap {
    ($($name:ident),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(
            address: *mut c_void,
            length: size_t,
            protection: c_int,
            flags: c_int,
            fd: c_int,
            offset: off_t,
        ) -> *mut c_void {
            mapped(address, length, protection, flags, fd, offset)
        }
    )*};
}
mmap!(mmap, mmap64);

#[unsafe(no_mangle)]
unsafe extern "C" fn sync() {
    if tracker::with(|_| ()).is_some() {
        sys::refuse("sync is not modelled");
    }
    call!(libc::SYS_sync);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn syncfs(fd: c_int) -> c_int {
    if tracker::with(|_| ()).is_some() {
        sys::refuse("syncfs is not modelled");
    }
    call!(libc::SYS_syncfs, fd) as c_int
}

type Fopen = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE;

fn stream(name: &CStr, path: *const c_char, mode: *const c_char) -> *mut FILE {
    let writing =
        sys::text(mode).is_some_and(|mode| mode.to_bytes().iter().any(|byte| b"wa+".contains(byte)));
    let into = sys::text(path).and_then(|path| path.to_str().ok());
    if writing
        && into.is_some_and(|path| tracker::with(|tracker| tracker.contains(path.as_ref())) == Some(true))
    {
        sys::refuse("writing by a stream of the C library is not modelled");
    }
    let found = sys::next(name);
    if found.is_null() {
        sys::refuse("the C library has no fopen");
    }
    // SAFETY: it is the C library's function of this name and type.
    let fopen = unsafe { std::mem::transmute::<*mut c_void, Fopen>(found) };
    // SAFETY: the arguments are the program's own.
    unsafe { fopen(path, mode) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    stream(c"fopen", path, mode)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
    stream(c"fopen64", path, mode)
}
