//! One account of bytes: what has arrived and is not handled yet, and what is answered and not sent yet, for each
//! connection, each tenant, and the server as a whole.
//!
//! Bytes are charged when they are there, never when they are declared, and given back when they are not there any
//! more. So that nobody has to be refused in the middle of a message, a level may be passed by what is read at once: a
//! caller is read from while there is room, and charged for what came. Every tenant has room for two of the largest
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
    /// What a tenant may hold whatever the others do.
    tenant_least: u64,
    connection: u64,
}

/// Of requests that need no token. A certificate alone takes no room from those with tokens, and one certificate's none
/// from another's probes; a connection with none of them has room for one until those of its tenant hold a quarter more
/// than they may.
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

/// What is counted of accounts, for the metrics.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    /// Times a request waited for room.
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

/// For whose sake there must be room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A request that may be refused.
    Request,
    /// Settlements, which are never refused: a connection that holds little may always settle.
    Settlement,
    /// Settlements of which a part has come, and that have waited long enough: their client's own deadline decides
    /// about them.
    Overdue,
    /// Deliveries, and requests that need no token: a connection that holds none may have some.
    One,
}

#[derive(Debug)]
struct Ledger {
    budget: Budget,
    server: Arc<Level>,
    /// By name; those without an identity have one together. As many as there are tenants.
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

    /// Those of a connection that has just come.
    pub(crate) fn open(&self, tenant: Option<&TenantName>) -> ConnectionAccounts {
        ConnectionAccounts {
            requests: self.requests.open(tenant),
            tokenless: self.tokenless.open(tenant),
            deliveries: self.deliveries.open(tenant),
            retained: self.retained.clone(),
            counters: self.counters.clone(),
        }
    }

    /// Bytes of requests of which a payload is kept as a piece.
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
    /// Charges so many bytes, whether or not there is room for them: they are here already.
    pub(crate) fn charge(&self, bytes: usize) -> Charge {
        let mut charge = Charge::nothing(self);
        charge.grow(bytes);
        charge
    }

    /// Charges so many bytes, if there is room for all of them. One charge alone always has room.
    pub(crate) fn try_charge(&self, bytes: usize) -> Option<Charge> {
        let held = self.0.connection.used();
        let charge = self.charge(bytes);
        (held == 0 || self.fits()).then_some(charge)
    }

    /// Whether there is room to read more.
    pub(crate) fn has_capacity(&self, wanted: Wanted) -> bool {
        let Levels { budget, connection, tenant, server } = &*self.0;
        let (held, tenant_slot) = (connection.used(), tenant.used());
        // Always, until the tenant holds so much: a source_slots of its connections does not take the server's room all
        // the same.
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

    /// Returns once there is room to read more.
    pub(crate) async fn capacity(self, wanted: Wanted) {
        /// Waiters look again so often, whether or not they are told of room.
        const RECHECK_INTERVAL: Duration = Duration::from_millis(200);
        let Levels { connection, tenant, server, .. } = &*self.0;
        loop {
            // Whoever is told and takes the room tells the next when it gives it back.
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
