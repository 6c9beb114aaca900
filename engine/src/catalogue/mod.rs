//! The catalogue's machine: tenants, departments, and the shard of each department. It has the rules of the shard's
//! machine; no shard reads it.

mod declare;

use std::collections::BTreeMap;

use crate::{
    halt::Halt,
    ids::{DepartmentId, ShardId, TenantId},
    keys::{CATALOGUE, CatalogueDepartmentKey, CatalogueStateKey, Key, TenantKey},
    kv::{Kv, Writes},
    limits::MACHINE_VERSION,
    machine::for_each_row,
    overlay::{Overlay, decode_row},
    schema::{
        CatalogueBatch, CatalogueDepartmentRow, CatalogueStateRow, TenantRow, catalogue_record::Command,
    },
};

/// The machine of the catalogue. All of it is in memory, since it is small.
pub struct CatalogueMachine {
    shards: u16,
    row: CatalogueStateRow,
    tenants: BTreeMap<String, TenantRow>,
    /// Departments by tenant and name.
    departments: BTreeMap<(u32, String), CatalogueDepartmentRow>,
    halted: bool,
}

/// The results of a batch. The writes are not made yet.
#[derive(Debug)]
pub struct CatalogueApplied {
    /// The changes of rows.
    pub writes: Writes,
    /// The answers to the callers: one per command, in order.
    pub outcomes: Vec<CatalogueOutcome>,
    /// What the leader does once the writes are made.
    pub effects: Vec<CatalogueEffect>,
}

/// The outcome of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogueOutcome {
    /// Of `Declare`: whether anything changed.
    Declared(bool),
}

/// What the leader does after a batch. It may be lost, since every leader compares catalogue and shards when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogueEffect {
    /// A department is new, closed or open again: its shard must be configured.
    DepartmentChanged(DepartmentId),
}

/// The tenants and departments of the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogueView {
    /// The tenants, by name.
    pub tenants: Vec<TenantView>,
    /// The departments, by tenant and name.
    pub departments: Vec<DepartmentView>,
}

/// A tenant of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantView {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: String,
    /// It is no longer declared.
    pub closed: bool,
}

/// A department of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepartmentView {
    /// Its id.
    pub id: DepartmentId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name within its tenant.
    pub name: String,
    /// The shard of all its queues.
    pub shard: ShardId,
    /// It is no longer declared.
    pub closed: bool,
    /// The index of its last change, which its shard is configured with.
    pub changed_at_index: u64,
}

impl CatalogueMachine {
    /// Reads the machine from its rows. New departments are placed on `shards` shards.
    ///
    /// # Errors
    /// When the store cannot be read or is damaged.
    pub fn hydrate(shards: u16, kv: &dyn Kv) -> Result<Self, Halt> {
        if shards == 0 || shards == CATALOGUE {
            return Err(Halt::Malformed("the number of shards"));
        }
        let rows = Overlay::new(kv);
        let (mut tenants, mut departments) = (BTreeMap::new(), BTreeMap::new());
        let prefix = TenantKey { name: String::new() }.encode();
        for_each_row::<TenantKey>(&rows, &prefix, &prefix, |key, value| {
            tenants.insert(key.name, decode_row::<TenantKey>(value)?);
            Ok(())
        })?;
        let prefix = CatalogueDepartmentKey::all();
        for_each_row::<CatalogueDepartmentKey>(&rows, &prefix, &prefix, |key, value| {
            departments.insert((key.tenant.0, key.name), decode_row::<CatalogueDepartmentKey>(value)?);
            Ok(())
        })?;
        let row = rows.row(&CatalogueStateKey)?.unwrap_or_default();
        Ok(Self { shards, row, tenants, departments, halted: false })
    }

    /// The index of the last batch applied; 0 before the first.
    #[must_use]
    pub const fn applied_index(&self) -> u64 {
        self.row.applied_index
    }

    /// The time of the last batch, Unix milliseconds.
    #[must_use]
    pub const fn now_ms(&self) -> u64 {
        self.row.now_ms
    }

    /// Applies a batch. Its writes must be in `kv` before the next one.
    ///
    /// # Errors
    /// See [`Halt`]: nothing may be written, and the machine is unusable until it is hydrated again.
    pub fn apply(
        &mut self,
        kv: &dyn Kv,
        index: u64,
        batch: CatalogueBatch,
    ) -> Result<CatalogueApplied, Halt> {
        if self.halted {
            return Err(Halt::Halted);
        }
        let applied = self.apply_whole(kv, index, batch);
        self.halted = applied.is_err();
        applied
    }

    fn apply_whole(
        &mut self,
        kv: &dyn Kv,
        index: u64,
        batch: CatalogueBatch,
    ) -> Result<CatalogueApplied, Halt> {
        if batch.machine_version > MACHINE_VERSION {
            return Err(Halt::NewerVersion { found: batch.machine_version, known: MACHINE_VERSION });
        }
        let applied = self.row.applied_index;
        if applied.checked_add(1) != Some(index) {
            return Err(Halt::IndexGap { applied, found: index });
        }
        self.row.applied_index = index;
        self.row.now_ms = self.row.now_ms.max(batch.now_ms);
        let mut rows = Overlay::new(kv);
        let (mut outcomes, mut effects) = (Vec::new(), Vec::new());
        for record in batch.commands {
            match record.command.ok_or(Halt::Malformed("a command is missing or unknown"))? {
                Command::Declare(declared) => {
                    let changed = declare::apply(self, &mut rows, declared)?;
                    outcomes.push(CatalogueOutcome::Declared(changed.any));
                    effects.extend(changed.departments.into_iter().map(CatalogueEffect::DepartmentChanged));
                }
            }
        }
        rows.put(&CatalogueStateKey, &self.row);
        Ok(CatalogueApplied { writes: rows.into_writes(), outcomes, effects })
    }

    /// All tenants and departments, closed ones too.
    #[must_use]
    pub fn view(&self) -> CatalogueView {
        let tenant = |(name, row): (&String, &TenantRow)| TenantView {
            id: TenantId(row.id),
            name: name.clone(),
            closed: row.closed,
        };
        let department = |((tenant, name), row): (&(u32, String), &CatalogueDepartmentRow)| DepartmentView {
            id: DepartmentId(row.id),
            tenant: TenantId(*tenant),
            name: name.clone(),
            // Written from a shard's number, below the number of shards.
            shard: ShardId(u16::try_from(row.shard).unwrap_or(CATALOGUE)),
            closed: row.closed,
            changed_at_index: row.changed_at_index,
        };
        CatalogueView {
            tenants: self.tenants.iter().map(tenant).collect(),
            departments: self.departments.iter().map(department).collect(),
        }
    }
}
