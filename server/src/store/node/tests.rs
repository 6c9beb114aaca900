//! Why a data folder is refused.

use super::*;

#[test]
fn a_new_folder_keeps_its_ids() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let first = DataDir::open(&path, 64).unwrap();
    let ids = (first.node(), first.cluster());
    assert_ne!(ids.0, ids.1);
    drop(first);
    let again = DataDir::open(&path, 64).unwrap();
    assert_eq!((again.node(), again.cluster(), again.shards()), (ids.0, ids.1, 64));
    assert!(again.log().is_dir() && again.store().is_dir());
}

#[test]
fn a_folder_whose_log_is_gone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // Before the log has begun there is nothing to miss.
    drop(DataDir::open(dir.path(), 64).unwrap());
    let mut data = DataDir::open(dir.path(), 64).unwrap();
    let segment = data.log().join("segment");
    fs::write(&segment, b"x").unwrap();
    data.log_has_begun().unwrap();
    drop(data);
    drop(DataDir::open(dir.path(), 64).unwrap());
    fs::remove_file(segment).unwrap();
    let error = DataDir::open(dir.path(), 64).unwrap_err();
    assert!(matches!(error, DataDirError::LogMissing { .. }), "{error}");
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = DataDir::open(dir.path(), 64).unwrap();
    let error = DataDir::open(dir.path(), 64).unwrap_err();
    assert!(matches!(error, DataDirError::InUse { .. }), "{error}");
}

#[test]
fn another_number_of_shards_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::open(dir.path(), 64).unwrap());
    let error = DataDir::open(dir.path(), 128).unwrap_err();
    assert!(matches!(error, DataDirError::OtherShards { found: 64, wanted: 128, .. }), "{error}");
    assert!(error.to_string().contains("set `shards = 64`"), "{error}");
}

#[test]
fn every_flipped_byte_of_the_node_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::open(dir.path(), 64).unwrap());
    let file = dir.path().join(NODE);
    let good = fs::read(&file).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, &bad).unwrap();
        assert!(DataDir::open(dir.path(), 64).is_err(), "byte {at}");
    }
    fs::write(&file, &good[..good.len() - 1]).unwrap();
    assert!(matches!(DataDir::open(dir.path(), 64), Err(DataDirError::Damaged { .. })));
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::open(dir.path(), 64).unwrap());
    let newer = FORMAT + 1;
    let text = format!("posthouse node\nformat {newer}\nand what we cannot know\n");
    fs::write(dir.path().join(NODE), text).unwrap();
    let error = DataDir::open(dir.path(), 64).unwrap_err();
    assert!(matches!(error, DataDirError::Newer { found, .. } if found == newer), "{error}");
}

#[test]
fn an_older_format_is_taken_over_and_looking_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), 64).unwrap();
    let node = Node { format: 1, ..data.node };
    drop(data);
    write_node(dir.path(), node).unwrap();
    assert_eq!(DataDir::inspect(dir.path()).unwrap().node, node);
    assert_eq!(read_node(dir.path()).unwrap(), Some(node));
    let renewed = Node { format: FORMAT, ..node };
    assert_eq!(DataDir::open(dir.path(), 64).unwrap().node, renewed);
    assert_eq!(read_node(dir.path()).unwrap(), Some(renewed));
    let without_log = Node { log_begun: true, ..node };
    write_node(dir.path(), without_log).unwrap();
    assert!(matches!(DataDir::open(dir.path(), 64), Err(DataDirError::LogMissing { .. })));
    assert_eq!(read_node(dir.path()).unwrap(), Some(without_log), "a refusal changed it");
    write_node(dir.path(), Node { format: 0, ..node }).unwrap();
    assert!(matches!(DataDir::open(dir.path(), 64), Err(DataDirError::Damaged { .. })));
}

#[test]
fn data_without_its_node_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path(), 64).unwrap();
    fs::write(data.store().join("CURRENT"), "x").unwrap();
    drop(data);
    fs::remove_file(dir.path().join(NODE)).unwrap();
    let error = DataDir::open(dir.path(), 64).unwrap_err();
    assert!(matches!(error, DataDirError::NodeMissing { .. }), "{error}");
}

#[test]
fn looking_into_a_folder_takes_it_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let empty = DataDir::inspect(dir.path()).unwrap_err();
    assert!(matches!(empty, DataDirError::NoData { .. }), "{empty}");
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    let missing = DataDir::inspect(&dir.path().join("nowhere")).unwrap_err();
    assert!(matches!(missing, DataDirError::Io { .. }), "{missing}");
    let served = DataDir::open(dir.path(), 64).unwrap();
    let node = served.node();
    assert!(matches!(DataDir::inspect(dir.path()), Err(DataDirError::InUse { .. })));
    drop(served);
    let inspected = DataDir::inspect(dir.path()).unwrap();
    assert_eq!((inspected.node(), inspected.shards()), (node, 64));
    assert!(matches!(DataDir::open(dir.path(), 64), Err(DataDirError::InUse { .. })));
}
