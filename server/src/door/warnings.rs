//! Warnings about connections, which clients can cause: limited in each interval, for each kind and tenant, so that no
//! client fills the log or hides what others cause.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use prometheus::IntCounterVec;

use super::{frames::Flood, h2::Identity};
use crate::{
    identity::{ConnIdentity, RefusedIdentity},
    limits::{MAX_AUTH_FAILURES, MAX_WARNINGS, WARNINGS_INTERVAL},
    names::TenantName,
};

/// The kind of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    NoIdentity,
    TenantFull,
    AuthFailures,
    Flooded,
    AuthorityRemoved,
}

/// How many of each there were lately. There are as many tenants as are configured.
#[derive(Debug)]
pub(super) struct Warnings {
    lately: Mutex<HashMap<(Kind, Option<TenantName>), Lately>>,
    /// Warnings that were left out, by kind.
    counter: IntCounterVec,
}

/// Warns of one connection.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    warnings: Arc<Warnings>,
    peer: SocketAddr,
    tenant: Option<TenantName>,
}

#[derive(Debug)]
struct Lately {
    since: Instant,
    logged: u64,
    left_out: u64,
}

impl Kind {
    /// A metric's label.
    const fn label(self) -> &'static str {
        match self {
            Self::NoIdentity => "no_identity",
            Self::TenantFull => "tenant_full",
            Self::AuthFailures => "auth_failures",
            Self::Flooded => "flooded",
            Self::AuthorityRemoved => "authority_gone",
        }
    }
}

impl Warnings {
    pub(super) fn new(left_out: IntCounterVec) -> Arc<Self> {
        Arc::new(Self { lately: Mutex::default(), counter: left_out })
    }

    /// For one connection.
    pub(super) fn about(self: &Arc<Self>, peer: SocketAddr, identity: &Identity) -> Teller {
        let tenant = match identity {
            Ok(known) => Some(known.tenant.clone()),
            Err(refused) => refused.authority_tenants.first().cloned(),
        };
        Teller { warnings: Arc::clone(self), peer, tenant }
    }

    /// Whether to warn now, and then how many warnings of the kind were left out before this one.
    fn allow(&self, kind: Kind, tenant: Option<&TenantName>, now: Instant) -> Option<u64> {
        let mut all = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let lately =
            all.entry((kind, tenant.cloned())).or_insert(Lately { since: now, logged: 0, left_out: 0 });
        if now.saturating_duration_since(lately.since) >= WARNINGS_INTERVAL {
            (lately.since, lately.logged) = (now, 0);
        }
        if lately.logged >= MAX_WARNINGS {
            lately.left_out += 1;
            self.counter.with_label_values(&[kind.label()]).inc();
            return None;
        }
        lately.logged += 1;
        Some(std::mem::take(&mut lately.left_out))
    }
}

impl Teller {
    fn allow(&self, kind: Kind) -> Option<u64> {
        self.warnings.allow(kind, self.tenant.as_ref(), Instant::now())
    }

    pub(super) fn no_identity(&self, refused: &RefusedIdentity) {
        if let Some(left_out) = self.allow(Kind::NoIdentity) {
            let (peer, error) = (self.peer, &refused.error);
            tracing::warn!(%peer, %error, left_out, "certificate without a usable identity");
        }
    }

    pub(super) fn tenant_full(&self) {
        if let Some(left_out) = self.allow(Kind::TenantFull) {
            let (peer, tenant) = (self.peer, self.tenant.as_ref().map(tracing::field::display));
            tracing::warn!(%peer, tenant, left_out, "connection closed: its tenant has as many open as may be");
        }
    }

    pub(super) fn auth_failures(&self) {
        if let Some(left_out) = self.allow(Kind::AuthFailures) {
            let (peer, tenant) = (self.peer, self.tenant.as_ref().map(tracing::field::display));
            let failures = MAX_AUTH_FAILURES;
            tracing::warn!(%peer, tenant, failures, left_out, "connection closed: its calls fail to authenticate");
        }
    }

    pub(super) fn flooded(&self, flood: Flood) {
        if let Some(left_out) = self.allow(Kind::Flooded) {
            let (peer, tenant) = (self.peer, self.tenant.as_ref().map(tracing::field::display));
            tracing::warn!(%peer, tenant, left_out, "connection closed: {flood}");
        }
    }

    pub(super) fn authority_removed(&self, identity: &ConnIdentity) {
        if let Some(left_out) = self.allow(Kind::AuthorityRemoved) {
            tracing::warn!(
                peer = %self.peer,
                spiffe_id = %identity.spiffe_id,
                left_out,
                "connection closed: no authority vouches for its certificate any more"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_warnings_is_summed_up_and_hides_no_others() {
        let counter = crate::observe::Observer::for_tests().metrics.door.left_out.clone();
        let (warnings, now) = (Warnings::new(counter), Instant::now());
        let (loud, quiet): (TenantName, TenantName) = ("loud".parse().unwrap(), "quiet".parse().unwrap());
        let logged = |tenant, now| warnings.allow(Kind::AuthFailures, Some(tenant), now);
        let count = (0..1_000).filter_map(|_| logged(&loud, now)).count();
        assert_eq!(count as u64, MAX_WARNINGS);
        assert_eq!(logged(&quiet, now), Some(0));
        assert_eq!(warnings.allow(Kind::Flooded, Some(&loud), now), Some(0));
        assert_eq!(warnings.allow(Kind::AuthFailures, None, now), Some(0));
        let later = now + WARNINGS_INTERVAL;
        assert_eq!(logged(&loud, later), Some(1_000 - MAX_WARNINGS));
        assert_eq!(logged(&loud, later), Some(0));
        assert_eq!(warnings.counter.with_label_values(&["auth_failures"]).get(), 1_000 - MAX_WARNINGS);
    }
}
