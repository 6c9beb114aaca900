//! Quota: what one tenant may use of a server that it shares with others.
//!
//! A publish is refused when the tenant's stored bytes would pass its cap, a queue when it has as many as it may, a
//! stream when it has as many open, a call when there were as many in this second. Consuming and settling are never
//! refused: they free bytes. The engine reports stored bytes after each batch, so publishes on their way to the disk
//! are not counted yet: a tenant may pass its cap by what is in flight at once.

mod rate;
mod usage;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use posthouse_engine::ids::DepartmentId;

use self::rate::Rate;
use crate::{config::TenantCaps, limits::TOKENLESS_STREAMS_PART, names::TenantName, pace::Pace};
pub use usage::{Sum, Usages};

/// Every tenant's caps, and what they use.
#[derive(Clone, Debug)]
pub struct Quota {
    tenants: Arc<HashMap<TenantName, Arc<TenantQuota>>>,
}

/// One tenant's.
#[derive(Debug)]
pub struct TenantQuota {
    name: TenantName,
    caps: TenantCaps,
    departments: Vec<DepartmentId>,
    usages: Arc<Usages>,
    streams: AtomicU64,
    /// Those of callers without a token.
    tokenless: AtomicU64,
    calls: Option<Rate>,
    /// Of the work on its calls.
    pace: Pace,
    /// Of the work on those that need no token.
    tokenless_pace: Pace,
}

/// A cap, for errors and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// Bytes of stored messages.
    StoredBytes,
    /// Queues.
    Queues,
    /// Open streams.
    Streams,
    /// Those of callers without a token.
    TokenlessStreams,
    /// Payload of one message.
    MessageBytes,
    /// Calls in a second.
    CallsPerSecond,
}

/// A cap that would be passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The tenant.
    pub tenant: TenantName,
    /// Which.
    pub cap: Cap,
    /// The limit.
    pub limit: u64,
    /// What is used already, or what was asked for.
    pub used: u64,
    /// How long to wait, where that is known.
    pub wait: Option<Duration>,
}

/// A stream among the tenant's, released when it is dropped.
#[derive(Debug)]
pub struct StreamSlot {
    quota: Arc<TenantQuota>,
    /// Its caller has shown no token.
    tokenless: bool,
}

impl Quota {
    /// The tenants of the configuration, with their departments.
    pub fn new(
        tenants: impl IntoIterator<Item = (TenantName, TenantCaps, Vec<DepartmentId>)>,
        usages: &Arc<Usages>,
    ) -> Self {
        let quota = |(name, caps, departments): (TenantName, TenantCaps, Vec<DepartmentId>)| {
            let (usages, streams) = (Arc::clone(usages), AtomicU64::new(0));
            let calls = caps.max_calls_per_second.map(|calls| Rate::new(calls, Instant::now()));
            let tokenless = AtomicU64::new(0);
            (
                name.clone(),
                Arc::new(TenantQuota {
                    name,
                    caps,
                    departments,
                    usages,
                    streams,
                    tokenless,
                    calls,
                    pace: Pace::default(),
                    tokenless_pace: Pace::default(),
                }),
            )
        };
        Self { tenants: Arc::new(tenants.into_iter().map(quota).collect()) }
    }

    /// A tenant's. None for a tenant that is not configured, which has no departments either.
    pub fn tenant(&self, name: &TenantName) -> Option<&Arc<TenantQuota>> {
        self.tenants.get(name)
    }

    /// All of them.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<TenantQuota>> {
        self.tenants.values()
    }
}

impl TenantQuota {
    /// Whether this many more bytes may be stored.
    pub fn check_stored(&self, more: u64) -> Result<(), Exceeded> {
        let (used, limit) = (self.stored_bytes(), self.caps.max_stored_bytes);
        self.check(Cap::StoredBytes, limit, used, used.saturating_add(more) <= limit)
    }

    /// Whether there may be one queue more.
    pub fn check_queues(&self) -> Result<(), Exceeded> {
        let (used, limit) = (self.queues(), self.caps.max_queues);
        self.check(Cap::Queues, limit, used, used < limit)
    }

    /// Whether a queue may accept messages of this size.
    pub fn check_message_bytes(&self, wanted: u32) -> Result<(), Exceeded> {
        let limit = self.caps.max_message_bytes;
        self.check(Cap::MessageBytes, limit.into(), wanted.into(), wanted <= limit)
    }

    /// The largest message, whatever a queue's settings.
    pub fn max_message_bytes(&self) -> u32 {
        self.caps.max_message_bytes
    }

    /// A slot for one more stream.
    pub fn open_stream(self: &Arc<Self>) -> Result<StreamSlot, Exceeded> {
        let limit = self.caps.max_streams;
        let more = |open: u64| (open < limit).then_some(open + 1);
        match self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(StreamSlot { quota: Arc::clone(self), tokenless: false }),
            Err(used) => Err(self.exceeded(Cap::Streams, limit, used)),
        }
    }

    /// A slot for a stream of a caller without a token: these have a part of the tenant's streams, so that a
    /// certificate alone keeps none of its callers out.
    pub fn open_tokenless_stream(self: &Arc<Self>) -> Result<StreamSlot, Exceeded> {
        let limit = self.limit(Cap::TokenlessStreams);
        let more = |open: u64| (open < limit).then_some(open + 1);
        self.tokenless
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|used| self.exceeded(Cap::TokenlessStreams, limit, used))?;
        match self.open_stream() {
            Ok(mut slot) => {
                slot.tokenless = true;
                Ok(slot)
            }
            Err(exceeded) => {
                self.tokenless.fetch_sub(1, Ordering::Relaxed);
                Err(exceeded)
            }
        }
    }

    /// Whether one more call is allowed in this second. A call that frees capacity (`always`) is counted and never
    /// refused.
    pub fn check_calls(&self, always: bool, now: Instant) -> Result<(), Exceeded> {
        let Some(calls) = &self.calls else { return Ok(()) };
        if always {
            calls.count_unrefused(now);
            return Ok(());
        }
        let limit = self.limit(Cap::CallsPerSecond);
        let refused =
            |wait| Exceeded { wait: Some(wait), ..self.exceeded(Cap::CallsPerSecond, limit, limit) };
        calls.count(now).map_err(refused)
    }

    /// The pace of the work on its calls, or on those that need no token.
    pub(crate) fn pace(&self, tokenless: bool) -> &Pace {
        if tokenless { &self.tokenless_pace } else { &self.pace }
    }

    /// The tenant's name.
    pub fn name(&self) -> &TenantName {
        &self.name
    }

    /// Bytes of its stored messages; settled ones count until they are trimmed.
    pub fn stored_bytes(&self) -> u64 {
        self.usages.sum(&self.departments).stored_bytes
    }

    /// Its queues.
    pub fn queues(&self) -> u64 {
        self.usages.sum(&self.departments).queues
    }

    /// Its open streams.
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Those of callers with a token.
    pub fn streams_with_tokens(&self) -> u64 {
        self.streams().saturating_sub(self.tokenless.load(Ordering::Relaxed))
    }

    /// The limit of a cap.
    pub fn limit(&self, cap: Cap) -> u64 {
        match cap {
            Cap::StoredBytes => self.caps.max_stored_bytes,
            Cap::Queues => self.caps.max_queues,
            Cap::Streams => self.caps.max_streams,
            Cap::TokenlessStreams => (self.caps.max_streams / TOKENLESS_STREAMS_PART).max(1),
            Cap::MessageBytes => self.caps.max_message_bytes.into(),
            Cap::CallsPerSecond => self.caps.max_calls_per_second.unwrap_or(u64::MAX),
        }
    }

    fn check(&self, cap: Cap, limit: u64, used: u64, fits: bool) -> Result<(), Exceeded> {
        if fits { Ok(()) } else { Err(self.exceeded(cap, limit, used)) }
    }

    fn exceeded(&self, cap: Cap, limit: u64, used: u64) -> Exceeded {
        Exceeded { tenant: self.name.clone(), cap, limit, used, wait: None }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let Self { quota, tokenless } = self;
        quota.streams.fetch_sub(1, Ordering::Relaxed);
        if *tokenless {
            quota.tokenless.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Cap {
    /// Its key in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StoredBytes => "max_stored_bytes",
            Self::Queues => "max_queues",
            Self::Streams | Self::TokenlessStreams => "max_streams",
            Self::MessageBytes => "max_message_bytes",
            Self::CallsPerSecond => "max_calls_per_second",
        }
    }
}

impl Exceeded {
    /// The limit that was reached, and what to do.
    pub fn description(&self) -> String {
        let Self { cap, limit, used, .. } = self;
        let key = cap.as_str();
        match cap {
            Cap::StoredBytes => format!(
                "{key} is {limit} and {used} are stored; consume, purge or delete messages (what is settled is \
                 removed a few MiB at a time), or ask the server's operator for more"
            ),
            Cap::Queues => {
                format!(
                    "{key} is {limit} and there are {used}; delete queues, or ask the server's operator for more"
                )
            }
            Cap::Streams => {
                format!(
                    "{key} is {limit} and {used} are open; close streams, or ask the server's operator for more"
                )
            }
            Cap::TokenlessStreams => format!(
                "{limit} of {key} are for callers without a token and {used} are open; send a token, or close streams"
            ),
            Cap::CallsPerSecond => format!(
                "{key} is {limit} and as many were made; put more into a call (batches, streams), or ask the server's \
                 operator for more"
            ),
            Cap::MessageBytes => {
                format!(
                    "{key} is {limit} and {used} are asked for; ask for less, or the server's operator for more"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
