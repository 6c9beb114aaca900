//! A wall clock that is wrong: ahead by `POSTHOUSE_CLOCK_AHEAD` seconds (behind, if that is negative), from the start
//! or, with `POSTHOUSE_CLOCK_JUMPS_WITH`, once there is a file of that name. With `POSTHOUSE_CLOCK_RIGHT_WITH` it is
//! set right once there is a file of that name. The monotonic clock stays as it is.

use std::{
    ffi::{CStr, CString, c_int},
    os::unix::ffi::OsStringExt as _,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::sys::call;

struct Wrong {
    ahead: i64,
    /// The moments at which the wrong time begins and ends.
    jumps: Moment,
    right: Moment,
}

/// A moment: when a file appears, or the start of the program.
struct Moment {
    file: Option<CString>,
    come: AtomicBool,
}

fn wrong() -> &'static Wrong {
    static WRONG: OnceLock<Wrong> = OnceLock::new();
    WRONG.get_or_init(|| {
        let ahead = std::env::var("POSTHOUSE_CLOCK_AHEAD").ok().and_then(|text| text.parse().ok());
        let file = |name| std::env::var_os(name).and_then(|file| CString::new(file.into_vec()).ok());
        let jumps = file("POSTHOUSE_CLOCK_JUMPS_WITH");
        Wrong {
            ahead: ahead.unwrap_or(0),
            jumps: Moment { come: AtomicBool::new(jumps.is_none()), file: jumps },
            right: Moment { come: AtomicBool::new(false), file: file("POSTHOUSE_CLOCK_RIGHT_WITH") },
        }
    })
}

impl Moment {
    fn has_come(&self) -> bool {
        if !self.come.load(Ordering::Relaxed) && self.file.as_deref().is_some_and(exists) {
            self.come.store(true, Ordering::Relaxed);
        }
        self.come.load(Ordering::Relaxed)
    }
}

/// Leaves `errno` unchanged, since the program's own call, a reading of the clock, does not set it.
fn exists(file: &CStr) -> bool {
    // SAFETY: every thread has one.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: it stays where it is while the thread lives.
    let before = unsafe { *errno };
    let found = call!(libc::SYS_faccessat, libc::AT_FDCWD, file.as_ptr(), libc::F_OK) == 0;
    // SAFETY: as above.
    unsafe { *errno = before };
    found
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let result = call!(libc::SYS_clock_gettime, clock, time) as c_int;
    if result == 0 && clock == libc::CLOCK_REALTIME {
        let wrong = wrong();
        if wrong.ahead != 0 && wrong.jumps.has_come() && !wrong.right.has_come() {
            // SAFETY: the call has just written there.
            unsafe { (*time).tv_sec += wrong.ahead };
        }
    }
    result
}
