//! One account of bytes: those that have arrived and are not handled yet, and those that are answered and not sent yet,
//! for each connection, each tenant, and the server.
//!
//! Bytes are charged when they have arrived, never when they are declared, and released when they are not held any
//! more. So that no call has to be refused in the middle of a message, a limit may be passed by what is read at once: a
//! caller is read from while bytes are free, and charged for what arrived. Every tenant can hold two of the largest
//! messages, whatever the others hold.

mod charge;
mod retained;
mod level;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::IntCounter;

pub(crate) use charge::Charge;
use level::Level;
pub(crate) use retained::RetainedRequests;

use crate::{
    limits::{
        LEAST_HELD_BYTES_PER_TENANT, LEAST_HELD_BYTES_TO_SETTLE, MAX_HELD_BYTES,
        MAX_HELD_BYTES_PER_CONNECTION, MAX_HELD_BYTES_PER_TENANT, MAX_TOKENLESS_BYTES,
        MAX_TOKENLESS_BYTES_PER_TENANT,
    },
    names::TenantName,
};

/// How much may be held, at each level.
#[derive(Clone, Copy, Debug)]
struct Budget {
    server: u64,
    tenant: u64,
    /// What a tenant may hold, whatever the others hold.
    tenant_least: u64,
    connection: u64,
}

/// The budget of requests that need no token. A certificate alone uses nothing of the callers with tokens, and one
/// certificate nothing of another's probes. A connection that holds none of these bytes may have one request, until
/// those of its tenant hold a quarter more than they may.
const TOKENLESS: Budget = Budget {
    server: MAX_TOKENLESS_BYTES,
    tenant: MAX_TOKENLESS_BYTES_PER_TENANT,
    tenant_least: MAX_TOKENLESS_BYTES_PER_TENANT / 4,
    connection: MAX_TOKENLESS_BYTES_PER_TENANT / 4,
};

const BUDGET: Budget = Budget {
    server: MAX_HELD_BYTES,
    tenant: MAX_HELD_BYTES_PER_TENANT,
    tenant_least: LEAST_HELD_BYTES_PER_TENANT,
    connection: MAX_HELD_BYTES_PER_CONNECTION,
};

/// Counters of the accounts, for the metrics.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    /// How often a request waited for free bytes.
    pub(crate) waited: IntCounter,
    /// Requests refused because there was none.
    pub(crate) refused: IntCounter,
    /// Calls ended because their answers were not read.
    pub(crate) unread: IntCounter,
}

#[cfg(test)]
impl Counters {
    pub(crate) fn for_tests() -> Self {
        let counter = || IntCounter::new("a", "a").unwrap();
        Self { waited: counter(), refused: counter(), unread: counter() }
    }
}

/// All accounts of a server.
#[derive(Debug)]
pub(crate) struct Accounts {
    requests: Ledger,
    tokenless: Ledger,
    deliveries: Ledger,
    retained: RetainedRequests,
    counters: Counters,
}

/// The accounts of one connection; in each request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionAccounts {
    /// Requests that are not handled yet, and answers that are not sent yet.
    pub(crate) requests: Account,
    /// Requests that need no token.
    pub(crate) tokenless: Account,
    /// Deliveries that are not sent yet. They are apart, so that who has many of them can still settle.
    pub(crate) deliveries: Account,
    pub(crate) retained: RetainedRequests,
    pub(crate) counters: Counters,
}

/// The account of one connection, with those of its tenant and of the server.
#[derive(Clone, Debug)]
pub(crate) struct Account(Arc<Levels>);

#[derive(Debug)]
struct Levels {
    budget: Budget,
    connection: Level,
    tenant: Arc<Level>,
    server: Arc<Level>,
}

/// What the free bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A request that may be refused.
    Request,
    /// Settlements, which are never refused: a connection that holds little may always settle.
    Settlement,
    /// Settlements of which a part has arrived, and that have waited long enough: their client's own deadline decides
    /// about them.
    Overdue,
    /// Deliveries, and requests that need no token: a connection that holds none may have some.
    One,
}

#[derive(Debug)]
struct Ledger {
    budget: Budget,
    server: Arc<Level>,
    /// By name; all connections without an identity share one. There are as many as tenants.
    tenants: Mutex<HashMap<Option<TenantName>, Arc<Level>>>,
}

impl Accounts {
    pub(crate) fn new(counters: Counters) -> Self {
        Self {
            requests: Ledger::new(BUDGET),
            tokenless: Ledger::new(TOKENLESS),
            deliveries: Ledger::new(BUDGET),
            retained: RetainedRequests::default(),
            counters,
        }
    }

    /// The accounts of a new connection.
    pub(crate) fn open(&self, tenant: Option<&TenantName>) -> ConnectionAccounts {
        ConnectionAccounts {
            requests: self.requests.open(tenant),
            tokenless: self.tokenless.open(tenant),
            deliveries: self.deliveries.open(tenant),
            retained: self.retained.clone(),
            counters: self.counters.clone(),
        }
    }

    /// Bytes of the requests of which a payload is still held as a piece.
    pub(crate) fn retained(&self) -> u64 {
        self.retained.bytes()
    }

    /// Bytes of requests and answers, and of deliveries, that are held.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.requests.server.used() + self.tokenless.server.used(), self.deliveries.server.used())
    }
}

impl Ledger {
    fn new(budget: Budget) -> Self {
        Self { budget, server: Arc::default(), tenants: Mutex::default() }
    }

    fn open(&self, tenant: Option<&TenantName>) -> Account {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = Arc::clone(tenants.entry(tenant.cloned()).or_default());
        let (budget, server) = (self.budget, Arc::clone(&self.server));
        Account(Arc::new(Levels { budget, connection: Level::default(), tenant, server }))
    }
}

impl Account {
    /// Charges bytes that have arrived, whether or not they are within the limits.
    pub(crate) fn charge(&self, bytes: usize) -> Charge {
        let mut charge = Charge::nothing(self);
        charge.grow(bytes);
        charge
    }

    /// Charges bytes if all of them are within the limits. A single charge is always possible.
    pub(crate) fn try_charge(&self, bytes: usize) -> Option<Charge> {
        let held = self.0.connection.used();
        let charge = self.charge(bytes);
        (held == 0 || self.fits()).then_some(charge)
    }

    /// Whether more may be read.
    pub(crate) fn has_capacity(&self, wanted: Wanted) -> bool {
        let Levels { budget, connection, tenant, server } = &*self.0;
        let (held, tenant_slot) = (connection.used(), tenant.used());
        // Always, until the tenant holds its part: many of its connections must not use the server's bytes in this way.
        let always = match wanted {
            Wanted::Settlement if held < LEAST_HELD_BYTES_TO_SETTLE => budget.tenant + budget.tenant / 4,
            Wanted::One if held == 0 => budget.tenant + budget.tenant / 4,
            Wanted::Overdue => budget.tenant + budget.tenant / 2,
            Wanted::Request | Wanted::Settlement | Wanted::One => 0,
        };
        if tenant_slot < always {
            return true;
        }
        held < budget.connection
            && (tenant_slot < budget.tenant_least
                || (tenant_slot < budget.tenant && server.used() < budget.server))
    }

    /// Returns once more may be read.
    pub(crate) async fn capacity(self, wanted: Wanted) {
        /// Waiters check again at this interval, whether or not they are notified.
        const RECHECK_INTERVAL: Duration = Duration::from_millis(200);
        let Levels { connection, tenant, server, .. } = &*self.0;
        loop {
            // A notified waiter that uses the free bytes notifies the next one when it releases them.
            let (own, tenants, servers) = (connection.freed(), tenant.freed(), server.freed());
            if self.has_capacity(wanted) {
                return;
            }
            tokio::select! {
                () = own => {}
                () = tenants => {}
                () = servers => {}
                () = tokio::time::sleep(RECHECK_INTERVAL) => {}
            }
        }
    }

    /// Bytes that are charged to the connection.
    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.0.connection.used()
    }

    fn fits(&self) -> bool {
        let Levels { budget, connection, tenant, server } = &*self.0;
        let tenant_slot = tenant.used();
        connection.used() <= budget.connection
            && (tenant_slot <= budget.tenant_least
                || (tenant_slot <= budget.tenant && server.used() <= budget.server))
    }
}

impl Levels {
    fn add(&self, bytes: u64) {
        self.connection.add(bytes);
        self.tenant.add(bytes);
        self.server.add(bytes);
    }

    fn release(&self, bytes: u64) {
        self.connection.release(bytes);
        self.tenant.release(bytes);
        self.server.release(bytes);
    }
}

#[cfg(test)]
mod tests;
