//! docs/configuration.md lists every key that is read, its range and its default, and its example can be loaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::{folder, load_in};
use crate::{config::section::asked, limits};

const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// The rows of the page's tables, by key.
fn rows() -> BTreeMap<&'static str, &'static str> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once("` |")).filter(|(key, _)| key.contains('.')).collect()
}

/// Loads the page's example; what was asked for meanwhile is every key, because the example has every section.
fn keys() -> BTreeMap<String, Option<(u64, u64)>> {
    let example = PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = folder();
    for (name, like) in [("civil-affairs-ca.pem", "ca.pem"), ("civil-affairs-jwks.json", "jwks.json")] {
        fs::copy(folder.path().join(like), folder.path().join(name)).unwrap();
    }
    asked::forget();
    load_in(folder.path(), example).unwrap();
    asked::keys().into_iter().filter(|(key, _)| key.contains('.')).collect()
}

#[test]
fn it_tells_every_key_that_is_read_and_no_other() {
    let (rows, keys) = (rows(), keys());
    let text: BTreeSet<&str> = rows.keys().copied().collect();
    let read: BTreeSet<&str> = keys.keys().map(String::as_str).collect();
    assert_eq!(text, read, "docs/configuration.md and the reader differ");
    for (key, range) in &keys {
        if let Some((from, to)) = range {
            let limits = if *to > 1 << 40 { format!("{from} or more") } else { format!("{from} to {to}") };
            assert!(rows[key.as_str()].contains(&limits), "{key} does not say {limits}");
        }
    }
}

#[test]
fn it_tells_the_defaults() {
    let defaults = [
        ("server.shards", u64::from(limits::DEFAULT_SHARDS)),
        ("server.drain_deadline_seconds", limits::DEFAULT_DRAIN_DEADLINE.as_secs()),
        ("server.max_connections", limits::DEFAULT_MAX_CONNECTIONS as u64),
        ("server.max_connection_age_seconds", limits::DEFAULT_CONNECTION_AGE.as_secs()),
        ("server.min_free_disk_bytes", limits::DEFAULT_MIN_FREE_DISK_BYTES),
        ("identity.max_token_lifetime_seconds", limits::DEFAULT_TOKEN_LIFETIME.as_secs()),
        ("tenant.max_stored_bytes", limits::DEFAULT_TENANT_STORED_BYTES),
        ("tenant.max_queues", limits::DEFAULT_TENANT_QUEUES),
        ("tenant.max_streams", limits::DEFAULT_TENANT_STREAMS),
    ];
    let rows = rows();
    for (key, default) in defaults {
        let column = rows[key].split('|').nth(1).unwrap().trim();
        assert_eq!(column, default.to_string(), "{key}");
    }
}
