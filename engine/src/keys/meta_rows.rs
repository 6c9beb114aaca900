//! Keys of the shard's own row, and of the catalogue's rows.

use super::{
    Key, Kind,
    parts::{Reader, Scope, Writer, keys},
};
use crate::{
    ids::{ShardId, TenantId},
    kv::Family,
    schema::{CatalogueDepartmentRow, CatalogueStateRow, ShardRow, TenantRow},
};

/// The value in the place of the shard in the keys of the catalogue.
pub const CATALOGUE: u16 = u16::MAX;

/// The catalogue, as the scope of its rows.
struct Catalogue;

impl Scope for Catalogue {
    fn begin(&self, kind: Kind) -> Writer {
        ShardId(CATALOGUE).begin(kind)
    }

    fn read_scope(key: &mut Reader<'_>, kind: Kind) -> Option<Self> {
        (ShardId::read_scope(key, kind)? == ShardId(CATALOGUE)).then_some(Self)
    }
}

keys! {
    /// A shard: its applied index, its time, its leader epoch.
    #[derive(Copy)]
    ShardKey: Shard, Meta -> ShardRow {
        /// The shard.
        shard: ShardId,
    }
}

/// The catalogue itself: its applied index, its time, the next ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueStateKey;

impl Key for CatalogueStateKey {
    const FAMILY: Family = Family::Meta;
    const KIND: Kind = Kind::CatalogueState;
    type Row = CatalogueStateRow;

    fn encode(&self) -> Vec<u8> {
        Catalogue.begin(Self::KIND).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        Catalogue::read_scope(&mut key, Self::KIND)?;
        key.end()?;
        Some(Self)
    }
}

/// A tenant; its row has its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantKey {
    /// The tenant's name.
    pub name: String,
}

impl Key for TenantKey {
    const FAMILY: Family = Family::Meta;
    const KIND: Kind = Kind::Tenant;
    type Row = TenantRow;

    fn encode(&self) -> Vec<u8> {
        Catalogue.begin(Self::KIND).part(&self.name).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        Catalogue::read_scope(&mut key, Self::KIND)?;
        Some(Self { name: key.part()? })
    }
}

/// A department as the catalogue knows it: its id and its shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueDepartmentKey {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
}

impl CatalogueDepartmentKey {
    /// The prefix of the keys of all departments.
    #[must_use]
    pub fn all() -> Vec<u8> {
        Catalogue.begin(Self::KIND).done()
    }
}

impl Key for CatalogueDepartmentKey {
    const FAMILY: Family = Family::Meta;
    const KIND: Kind = Kind::CatalogueDepartment;
    type Row = CatalogueDepartmentRow;

    fn encode(&self) -> Vec<u8> {
        Catalogue.begin(Self::KIND).part(&self.tenant).part(&self.name).done()
    }

    fn decode(key: &[u8]) -> Option<Self> {
        let mut key = Reader(key);
        Catalogue::read_scope(&mut key, Self::KIND)?;
        Some(Self { tenant: key.part()?, name: key.part()? })
    }
}
