//! The send windows of a connection's streams, and how the streams ended.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

/// The initial window of HTTP/2 (RFC 9113, 6.9.2).
const WINDOW: i64 = 65_535;
const FRAME: usize = 16 << 10;

/// How a stream ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was answered with more than a status.
    Answered,
    /// It was answered with a status only.
    Refused,
    /// It was reset.
    Reset,
}

#[derive(Default)]
struct Stream {
    window: i64,
    has_data: bool,
    end: Option<End>,
}

/// All streams of a connection.
pub(super) struct Streams {
    inner: Mutex<Inner>,
    /// Notified of every change.
    changed: Notify,
    ended: AtomicU64,
}

struct Inner {
    streams: HashMap<u32, Stream>,
    window: i64,
    initial: i64,
    frame: usize,
    over: Option<String>,
}

impl Default for Streams {
    fn default() -> Self {
        let inner =
            Inner { streams: HashMap::new(), window: WINDOW, initial: WINDOW, frame: FRAME, over: None };
        Self { inner: Mutex::new(inner), changed: Notify::new(), ended: AtomicU64::new(0) }
    }
}

impl Streams {
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let changed = change(&mut self.inner.lock().unwrap());
        self.changed.notify_waiters();
        changed
    }

    /// Waits until `find` returns a value, or the connection is over.
    async fn until<T>(&self, mut find: impl FnMut(&mut Inner) -> Option<T>) -> Result<T, String> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut inner = self.inner.lock().unwrap();
                if let Some(found) = find(&mut inner) {
                    return Ok(found);
                }
                if let Some(why) = &inner.over {
                    return Err(why.clone());
                }
            }
            changed.await;
        }
    }

    /// A stream begins.
    pub(super) fn begin(&self, id: u32) {
        let mut inner = self.inner.lock().unwrap();
        let window = inner.initial;
        inner.streams.insert(id, Stream { window, ..Stream::default() });
    }

    /// Waits until a stream may send some of `wanted` bytes, and takes them from its window; 0 once it has ended.
    pub(super) async fn acquire(&self, id: u32, wanted: usize) -> Result<usize, String> {
        self.until(|inner| {
            let Inner { streams, window, frame, .. } = inner;
            let stream = streams.get_mut(&id)?;
            if stream.end.is_some() {
                return Some(0);
            }
            let allowed = usize::try_from(stream.window.min(*window)).unwrap_or(0).min(*frame).min(wanted);
            if allowed == 0 {
                return None;
            }
            stream.window -= allowed as i64;
            *window -= allowed as i64;
            Some(allowed)
        })
        .await
    }

    /// Waits for a stream's end, and removes it.
    pub(super) async fn end(&self, id: u32) -> Result<End, String> {
        let end = self.until(|inner| inner.streams.get(&id).and_then(|stream| stream.end)).await?;
        self.inner.lock().unwrap().streams.remove(&id);
        Ok(end)
    }

    /// The number of streams that have ended.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Waits until this many streams have ended.
    pub(super) async fn until_ended(&self, count: u64) -> Result<(), String> {
        self.until(|_| (self.ended() >= count).then_some(())).await
    }

    /// Waits until the connection is over.
    pub(super) async fn over(&self) -> String {
        self.until(|_| None::<()>).await.unwrap_err()
    }

    /// Why the connection is over, or `None`.
    pub(super) fn is_over(&self) -> Option<String> {
        self.inner.lock().unwrap().over.clone()
    }

    /// Closes the connection; the first reason is kept.
    pub(super) fn close(&self, why: &str) {
        self.change(|inner| inner.over.get_or_insert_with(|| why.to_owned()).len());
    }

    /// The server enlarges a window.
    pub(super) fn widen(&self, id: u32, more: u32) {
        self.change(|inner| match id {
            0 => inner.window += i64::from(more),
            id => {
                if let Some(stream) = inner.streams.get_mut(&id) {
                    stream.window += i64::from(more);
                }
            }
        });
    }

    /// The server changes the initial window, also of the open streams.
    pub(super) fn initial(&self, bytes: u32) {
        self.change(|inner| {
            let more = i64::from(bytes) - inner.initial;
            inner.initial += more;
            inner.streams.values_mut().for_each(|stream| stream.window += more);
        });
    }

    /// The server changes the largest frame that it accepts.
    pub(super) fn frame(&self, bytes: u32) {
        self.change(|inner| inner.frame = bytes as usize);
    }

    /// Handles DATA or headers of a stream; returns how it ended, if it has.
    pub(super) fn on_frame(&self, id: u32, data: bool, ends: bool, reset: bool) -> Option<End> {
        let mut inner = self.inner.lock().unwrap();
        let mut forgotten = Stream::default();
        let stream = inner.streams.get_mut(&id).unwrap_or(&mut forgotten);
        stream.has_data |= data;
        if !ends && !reset || stream.end.is_some() {
            return None;
        }
        let end = match (reset, stream.has_data) {
            (true, _) => End::Reset,
            (false, true) => End::Answered,
            (false, false) => End::Refused,
        };
        stream.end = Some(end);
        drop(inner);
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
        Some(end)
    }

    /// Removes the streams that have ended.
    pub(super) fn forget_ended(&self) {
        self.inner.lock().unwrap().streams.retain(|_, stream| stream.end.is_none());
    }
}
