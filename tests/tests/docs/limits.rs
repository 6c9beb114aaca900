//! The page of limits lists every limit, with the numbers of the source.

use std::{collections::BTreeMap, fs};

use super::pages::{Page, root};

/// The folder of the files that define the server's limits, and the file of the engine's.
const SERVER: &str = "server/src/limits";
const ENGINE: &str = "engine/src/limits.rs";

/// Limits that no caller reaches: of the server's own work, its files, its log and its configuration.
const INNER: &[&str] = &[
    "ACCEPT_PAUSE_MAX",
    "ACCEPT_PAUSE_MIN",
    "BALLAST_PART",
    "BODY_CACHE_BYTES",
    "CANCEL_GRACE",
    "CERTIFICATE_CHECK_INTERVAL",
    "CHECK_PART",
    "CHUNK",
    "CLOSED_LEASES_PER_TIMER",
    "CONFIGURE_AGAIN_INTERVAL",
    "CONNECTIONS",
    "CONNECTION_AGE_SECONDS",
    "DEAD_LETTER_SCAN_BYTES",
    "DEAD_LETTER_SCAN_ROWS",
    "DEFAULT_DRAIN_DEADLINE",
    "DEFAULT_MANAGEMENT_PORT",
    "DEFAULT_SHARDS",
    "EXAMINED_PER_SETTLED",
    "EXAMINE_AGAIN_AFTER",
    "FLUSH_WHEN_FULL_INTERVAL",
    "FRAMES_OF_WINDOW",
    "FULL_WARNING_INTERVAL",
    "GRANT_PATIENCE_MS",
    "H2_FRAME_HEAD_BYTES",
    "HANG_UP_BYTES",
    "HANG_UP_DEADLINE",
    "LAST_SPANS_DEADLINE",
    "LEASELESS_END",
    "LEAST_H2_FRAME_BYTES",
    "LEAST_UNSENT_BYTES",
    "LONG_CERTIFICATE_LIFETIME",
    "MACHINE_VERSION",
    "MAX_ACCESS_RANGES",
    "MAX_CONFIG_FILE_BYTES",
    "MAX_DRAIN_DEADLINE",
    "MAX_EXAMINED",
    "MAX_KEY_SET_DEPTH",
    "MAX_LINES_WAITING",
    "MAX_LINES_WAITING_BYTES",
    "MAX_LINE_BYTES",
    "MAX_LONG_CERTIFICATES_REPORTED",
    "MAX_PRODUCERS_EXAMINED",
    "MAX_PRODUCERS_OF_OLD",
    "MAX_REACH",
    "MAX_REDRIVE_ORIGINS",
    "MAX_REDRIVE_PASSED_OVER",
    "MAX_RELOCATED",
    "MAX_RELOCATED_BYTES",
    "MAX_RELOCATED_PER_CHUNK",
    "MAX_RSA_BITS",
    "MAX_SHARDS",
    "MAX_SPANS_WAITING",
    "MAX_TENANT_QUEUES",
    "MAX_TENANT_STREAMS",
    "MESSAGES_PER_READ",
    "MIN_FREE_DISK_BYTES",
    "MIN_RSA_BITS",
    "MIN_SHARDS",
    "MISSING_TARGET_RETRY_MS",
    "PASSING_PAGE",
    "PASS_AFTER_CHUNKS",
    "PRODUCER_KNOWN_MESSAGES",
    "PRODUCER_PAST_BATCHES",
    "PRODUCER_REFUSED_RUNS",
    "PRODUCER_REORDER_MS",
    "PROGRESS_INTERVAL",
    "READING_PAGE",
    "RECENT_ENTRIES",
    "RECYCLED_LOG_FREE_BYTES",
    "RELOAD_INTERVAL",
    "RELOAD_PATIENCE",
    "RELOAD_QUIET",
    "RELOCATE_FROM_BYTES",
    "RELOCATE_GAIN",
    "REQUESTS_PER_TIMER",
    "REQUEST_DIGEST_BYTES",
    "STRIDE",
    "TENANT_STORED_BYTES",
    "TOKEN_CACHE_GENERATION",
    "TRIM_BYTES",
    "VERSION_OF_FAIR_SESSIONS",
    "VERSION_OF_WALL_TIME",
];

/// The constants of the sources with their expressions; of two with one name, the server's.
fn constants() -> BTreeMap<String, String> {
    let mut constants = BTreeMap::new();
    let folder = fs::read_dir(root().join(SERVER)).unwrap();
    let mut sources: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
    assert!(sources.len() > 5, "{sources:?}");
    sources.push(root().join(ENGINE));
    for source in sources {
        let text = fs::read_to_string(&source).unwrap();
        for rest in text.split("\npub const ").skip(1) {
            let (name, rest) = rest.split_once(':').unwrap();
            // The value may stand on the next line.
            let (_, value) = rest.split_once(" =").unwrap();
            let (value, _) = value.split_once(';').unwrap();
            constants.entry(name.to_owned()).or_insert_with(|| value.trim().to_owned());
        }
    }
    constants
}

/// The rows of the page's tables that name a constant: the names, and the limit.
fn rows(page: &Page) -> Vec<(Vec<&str>, &str)> {
    let mut rows = Vec::new();
    for line in page.text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 6, "four cells: {line}");
        let names: Vec<_> = cells[4].split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty() || cells[4] == "constant", "no constant: {line}");
        assert!(!cells[3].is_empty(), "what does a refused caller hear? {line}");
        if !names.is_empty() {
            rows.push((names, cells[2]));
        }
    }
    rows
}

#[test]
fn every_limit_that_a_caller_can_run_into_is_on_the_page() {
    let page = Page::read("docs/limits.md");
    let rows = rows(&page);
    let named: Vec<_> = rows.iter().flat_map(|(names, _)| names).copied().collect();
    let constants = constants();
    for name in constants.keys() {
        let (is_named, is_inner) = (named.contains(&name.as_str()), INNER.contains(&name.as_str()));
        assert!(
            is_named != is_inner,
            "{name}: it belongs into docs/limits.md or among what no caller runs into"
        );
    }
    for name in named.iter().chain(INNER) {
        assert!(constants.contains_key(*name), "there is no {name}");
    }
}

#[test]
fn every_limit_of_the_configuration_is_on_the_page() {
    let page = Page::read("docs/limits.md");
    let configuration = Page::read("docs/configuration.md");
    for row in configuration.text.lines().filter(|row| row.starts_with("| `")) {
        let key = row.split('`').nth(1).unwrap();
        let (section, name) = key.split_once('.').unwrap();
        if matches!(section, "server" | "tenant" | "identity") && name.contains("max_")
            || name.contains("min_")
        {
            assert!(page.text.contains(&format!("`{key}`")), "{key}");
        }
    }
}

#[test]
fn the_numbers_are_those_of_the_source() {
    let (page, constants) = (Page::read("docs/limits.md"), constants());
    let mut compared = 0;
    for (names, limit) in rows(&page) {
        let Some(value) = value(&constants[names[0]], &constants) else { continue };
        let spellings = value.spellings();
        assert!(
            spellings.iter().any(|text| limit.contains(text)),
            "{names:?}: {limit}, and not {spellings:?}"
        );
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

/// A number, or seconds and milliseconds.
#[derive(Clone, Copy)]
enum Value {
    Number(u64),
    Milliseconds(u64),
}

/// The value of an expression, or `None` for a range and for anything that is not simple.
fn value(expression: &str, constants: &BTreeMap<String, String>) -> Option<Value> {
    if expression.contains("..") {
        return None;
    }
    for (call, factor) in [("Duration::from_secs(", 1_000), ("Duration::from_millis(", 1)] {
        if let Some(inner) = expression.strip_prefix(call) {
            return Some(Value::Milliseconds(number(inner.strip_suffix(')')?, constants)? * factor));
        }
    }
    number(expression, constants).map(Value::Number)
}

/// Numbers with `-`, `*` and `<<`, in the order in which they bind, and names of other limits.
fn number(expression: &str, constants: &BTreeMap<String, String>) -> Option<u64> {
    let text = expression.trim();
    let text = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    if let Some((left, right)) = text.rsplit_once(" - ") {
        return Some(number(left, constants)? - number(right, constants)?);
    }
    if let Some((left, right)) = text.split_once(" * ") {
        return Some(number(left, constants)? * number(right, constants)?);
    }
    if let Some((left, right)) = text.split_once(" << ") {
        return Some(number(left, constants)? << number(right, constants)?);
    }
    let word = text.split(" as ").next()?.trim_start_matches("engine::").replace('_', "");
    word.parse().ok().or_else(|| {
        let name = text.split(" as ").next()?;
        // A name that both sources define is the engine's if it says so, and is not looked up.
        let other = constants.get(name.trim_start_matches("engine::"))?;
        (other != text).then(|| number(other, constants)).flatten()
    })
}

impl Value {
    /// How the page may write the value.
    fn spellings(self) -> Vec<String> {
        let grouped = |number: u64| {
            let digits = number.to_string();
            let mut text = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        };
        match self {
            Self::Number(number) => {
                let mut spellings = vec![grouped(number)];
                for (unit, shift) in [("KiB", 10), ("MiB", 20), ("GiB", 30)] {
                    spellings.extend(
                        (number.trailing_zeros() >= shift).then(|| format!("{} {unit}", number >> shift)),
                    );
                }
                spellings.extend((number == (4 << 20) - (64 << 10)).then(|| "4 MiB less 64 KiB".to_owned()));
                // A value whose name ends in _MS.
                let units = [(86_400_000, "days"), (3_600_000, "hours"), (1_000, "s")];
                let units = units.into_iter().filter(|(unit, _)| number.is_multiple_of(*unit));
                spellings.extend(units.map(|(unit, name)| format!("{} {name}", grouped(number / unit))));
                spellings
            }
            Self::Milliseconds(ms) if ms.is_multiple_of(1_000) => vec![format!("{} s", grouped(ms / 1_000))],
            Self::Milliseconds(ms) => vec![format!("{} ms", grouped(ms))],
        }
    }
}
