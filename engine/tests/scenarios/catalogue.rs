//! The catalogue: declared tenants and departments, and those that are not declared any more.

use posthouse_engine::{
    catalogue::{CatalogueEffect, CatalogueMachine, CatalogueOutcome, DepartmentView},
    halt::Halt,
    ids::{DepartmentId, ShardId},
    kv::MemKv,
    limits::MACHINE_VERSION,
    schema::{CatalogueBatch, CatalogueRecord, Declare, DeclaredTenant, catalogue_record::Command},
};

const SHARDS: u16 = 3;

struct Catalogue {
    kv: MemKv,
    machine: CatalogueMachine,
}

type Declared<'a> = &'a [(&'a str, &'a [&'a str])];

impl Catalogue {
    fn new() -> Self {
        let kv = MemKv::default();
        Self { machine: CatalogueMachine::hydrate(SHARDS, &kv).unwrap(), kv }
    }

    /// Declares. Returns whether anything changed, and which departments.
    fn declare(&mut self, tenants: Declared<'_>) -> (bool, Vec<u32>) {
        let index = self.machine.applied_index() + 1;
        let applied = self.machine.apply(&self.kv, index, batch(tenants)).unwrap();
        self.kv.write(&applied.writes);
        // After each step a machine that is read from the rows is the same.
        let again = CatalogueMachine::hydrate(SHARDS, &self.kv).unwrap();
        assert_eq!(again.view(), self.machine.view());
        self.machine = again;
        let [CatalogueOutcome::Declared(changed)] = applied.outcomes[..] else {
            panic!("{:?}", applied.outcomes)
        };
        let ids = applied.effects.into_iter().map(|CatalogueEffect::DepartmentChanged(DepartmentId(id))| id);
        (changed, ids.collect())
    }

    fn department(&self, name: &str) -> DepartmentView {
        self.machine.view().departments.into_iter().find(|view| view.name == name).unwrap()
    }
}

fn batch(tenants: Declared<'_>) -> CatalogueBatch {
    let tenant = |(name, departments): &(&str, &[&str])| DeclaredTenant {
        name: (*name).into(),
        departments: departments.iter().map(|name| (*name).into()).collect(),
    };
    let declare = Declare { tenants: tenants.iter().map(tenant).collect() };
    let commands = vec![CatalogueRecord { command: Some(Command::Declare(declare)) }];
    CatalogueBatch { machine_version: MACHINE_VERSION, now_ms: 5, commands, proposal_id: 0 }
}

#[test]
fn departments_spread_over_the_shards() {
    let mut catalogue = Catalogue::new();
    let declared: Declared<'_> = &[("civil-affairs", &["a", "b", "c"]), ("taxation", &["d"])];
    assert_eq!(catalogue.declare(declared), (true, vec![1, 2, 3, 4]));
    let placement: Vec<_> =
        ["a", "b", "c", "d"].iter().map(|name| catalogue.department(name).shard).collect();
    assert_eq!(placement, [ShardId(0), ShardId(1), ShardId(2), ShardId(0)]);
    let tenants: Vec<_> =
        catalogue.machine.view().tenants.into_iter().map(|view| (view.id.0, view.name)).collect();
    assert_eq!(tenants, [(1, "civil-affairs".into()), (2, "taxation".into())]);
}

#[test]
fn the_same_declaration_changes_nothing() {
    let mut catalogue = Catalogue::new();
    let declared: Declared<'_> = &[("civil-affairs", &["a", "b"])];
    catalogue.declare(declared);
    let before = catalogue.machine.view();
    assert_eq!(catalogue.declare(declared), (false, vec![]));
    assert_eq!(catalogue.machine.view(), before);
    assert_eq!((catalogue.machine.applied_index(), catalogue.machine.now_ms()), (2, 5));
}

#[test]
fn what_is_no_longer_declared_is_closed_and_opens_again_as_it_was() {
    let mut catalogue = Catalogue::new();
    catalogue.declare(&[("civil-affairs", &["a", "b"]), ("taxation", &["c"])]);
    let before = catalogue.department("c");
    assert_eq!(catalogue.declare(&[("civil-affairs", &["a", "d"])]), (true, vec![4, 2, 3]));
    let closed = catalogue.department("c");
    assert_eq!(closed, DepartmentView { closed: true, changed_at_index: 2, ..before.clone() });
    assert!(catalogue.machine.view().tenants.iter().any(|view| view.name == "taxation" && view.closed));
    // A closed department still counts on its shard.
    assert_eq!(catalogue.department("d").shard, ShardId(0));
    assert_eq!(catalogue.declare(&[("taxation", &["c"])]), (true, vec![3, 1, 4]));
    assert_eq!(catalogue.department("c"), DepartmentView { changed_at_index: 3, ..before });
}

#[test]
fn two_tenants_may_use_the_same_name() {
    let mut catalogue = Catalogue::new();
    catalogue.declare(&[("civil-affairs", &["archive"]), ("taxation", &["archive"])]);
    let ids: Vec<_> =
        catalogue.machine.view().departments.into_iter().map(|view| (view.tenant.0, view.id.0)).collect();
    assert_eq!(ids, [(1, 1), (2, 2)]);
}

#[test]
fn a_bad_batch_halts_it() {
    let mut catalogue = Catalogue::new();
    let newer = CatalogueBatch { machine_version: MACHINE_VERSION + 1, ..batch(&[]) };
    assert!(matches!(catalogue.machine.apply(&catalogue.kv, 1, newer), Err(Halt::NewerVersion { .. })));
    assert!(matches!(catalogue.machine.apply(&catalogue.kv, 1, batch(&[])), Err(Halt::Halted)));
    catalogue.machine = CatalogueMachine::hydrate(SHARDS, &catalogue.kv).unwrap();
    assert!(matches!(
        catalogue.machine.apply(&catalogue.kv, 1, batch(&[("", &[])])),
        Err(Halt::Malformed(_))
    ));
    assert!(CatalogueMachine::hydrate(0, &catalogue.kv).is_err());
}
