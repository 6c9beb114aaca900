//! Logs of older versions are applied as those versions applied them: the rows at the end are the same.
//!
//! A file has random cases of one version: for each the batches of its log, and the rows that the version had at its
//! end. It is written once, by `write` below at the last commit of that version, and never again.

use std::{fs, path::PathBuf};

use posthouse_engine::{kv::Family, limits::MACHINE_VERSION, schema::Batch};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use prost::Message as _;

use crate::{driver::Driver, op, subject::Subject};

/// Cases of a file, and the cases that they are chosen from: the longest, which differ most.
const CASES: (usize, usize) = (12, 300);

#[test]
fn logs_of_older_versions_leave_the_rows_they_left() {
    let mut versions = Vec::new();
    for file in fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let mut rest = &bytes[..];
        let (mut cases, mut batches) = (0, 0);
        while !rest.is_empty() {
            let mut subject = Subject::new(None);
            for bytes in parts(&mut rest) {
                let batch = Batch::decode(bytes).unwrap();
                versions.push(batch.machine_version);
                subject.apply(&batch).unwrap();
                batches += 1;
            }
            let (expected, found) = (parts(&mut rest), rows(&subject));
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, *expected, "a row of case {cases} of {}", path.display());
            }
            assert_eq!(found.len(), expected.len(), "rows of case {cases} of {}", path.display());
            subject.check().unwrap();
            cases += 1;
        }
        println!("{}: {cases} cases, {batches} batches", path.display());
        assert!(cases > 0 && batches > 10 * cases);
    }
    assert!(
        versions.contains(&5)
            && versions.contains(&6)
            && versions.iter().all(|version| *version < MACHINE_VERSION)
    );
}

#[test]
#[ignore = "makes the file of this version, when the next one begins"]
fn write() {
    let config = Config { failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let case = op::case();
    let mut cases: Vec<_> = (0..CASES.1).map(|_| case.new_tree(&mut runner).unwrap().current()).collect();
    cases.sort_by_key(|case| std::cmp::Reverse(case.iter().map(Vec::len).sum::<usize>()));
    let mut bytes = Vec::new();
    for case in &cases[..CASES.0] {
        let (mut driver, mut subject) = (Driver::new(), Subject::new(None));
        let mut log = vec![driver.first()];
        log.extend(case.iter().map(|ops| driver.step(ops)));
        log.iter().for_each(|step| drop(subject.apply(&step.batch).unwrap()));
        put(&mut bytes, &log.iter().map(|step| step.batch.encode_to_vec()).collect::<Vec<_>>());
        put(&mut bytes, &rows(&subject));
    }
    fs::create_dir_all(folder()).unwrap();
    fs::write(folder().join(format!("version-{MACHINE_VERSION}.bin")), bytes).unwrap();
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All rows: the family's index, the key's length, the key, the value.
fn rows(subject: &Subject) -> Vec<Vec<u8>> {
    let row = |(family, key, value): (Family, &[u8], &bytes::Bytes)| {
        let index = Family::ALL.iter().position(|known| *known == family).unwrap();
        [&[u8::try_from(index).unwrap(), u8::try_from(key.len()).unwrap()], key, value].concat()
    };
    subject.kv.rows().map(row).collect()
}

/// The number of items, and each item with its length.
fn put(bytes: &mut Vec<u8>, parts: &[Vec<u8>]) {
    let number = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    bytes.extend(number(parts.len()));
    for part in parts {
        bytes.extend(number(part.len()));
        bytes.extend(part);
    }
}

fn parts<'a>(rest: &mut &'a [u8]) -> Vec<&'a [u8]> {
    let count = number(rest);
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(rest);
        parts.push(split_off(rest, length));
    }
    parts
}

fn number(rest: &mut &[u8]) -> usize {
    u32::from_be_bytes(split_off(rest, 4).try_into().unwrap()) as usize
}

fn split_off<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (part, left) = rest.split_at(count);
    *rest = left;
    part
}
