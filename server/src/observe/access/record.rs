//! One record, and the ways to write it.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use posthouse_text::shown;
use serde::Serialize;

use crate::{
    identity::{ConnIdentity, Principal, RefusedIdentity},
    limits::MAX_ACCESS_RANGES,
};

/// The action of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// Messages were published.
    Publish,
    /// Messages were delivered.
    Deliver,
    /// Deliveries were settled.
    Settle,
    /// A queue was changed.
    Manage,
    /// A call was refused for who made it.
    Refused,
}

/// The caller, as far as it is known.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Caller {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) tenant: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subject: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    client_id: String,
    /// The token's id, which is no secret: it names the token in its issuer's books.
    #[serde(skip_serializing_if = "String::is_empty")]
    token_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    spiffe_id: String,
    /// SHA-256, base64url.
    #[serde(rename = "x5t#S256", skip_serializing_if = "String::is_empty")]
    certificate: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    peer: String,
    /// Of a certificate without a usable identity: what it claims to be, the first tenants that its authority may speak
    /// for, and the problem.
    #[serde(skip_serializing_if = "String::is_empty")]
    claimed_spiffe_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authority_tenants: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    fault: String,
}

impl Caller {
    /// A caller whose token was accepted, or the certificate alone.
    pub(crate) fn of(principal: Option<&Principal>, connection: Option<&ConnIdentity>) -> Self {
        let mut caller = Self::default();
        if let Some(connection) = connection {
            caller.tenant = connection.tenant.to_string();
            caller.spiffe_id = connection.spiffe_id.to_string();
            caller.certificate = BASE64_URL_SAFE_NO_PAD.encode(connection.certificate_sha256);
            caller.peer = connection.peer.to_string();
        }
        if let Some(principal) = principal {
            caller.tenant = principal.tenant.to_string();
            caller.subject.clone_from(&principal.subject);
            caller.client_id.clone_from(&principal.client_id);
            caller.token_id.clone_from(&principal.jti);
            caller.certificate = BASE64_URL_SAFE_NO_PAD.encode(principal.certificate_sha256);
        }
        caller
    }

    /// A caller whose certificate has no usable identity. The claimed identity is cut if it is longer than an identity
    /// may be.
    pub(crate) fn refused(refused: &RefusedIdentity) -> Self {
        let claimed = refused.claimed.as_deref().unwrap_or_default();
        let tenants = refused.authority_tenants.iter();
        Self {
            claimed_spiffe_id: claimed.chars().take(MAX_CLAIMED_CHARS).collect(),
            certificate: BASE64_URL_SAFE_NO_PAD.encode(refused.certificate_sha256),
            peer: refused.peer.to_string(),
            authority_tenants: tenants.take(MAX_AUTHORITY_TENANTS).map(ToString::to_string).collect(),
            fault: refused.error.to_string(),
            ..Self::default()
        }
    }

    /// The tenant that is responsible for the caller, or those of the certificate's authority.
    pub(super) fn answerable(&self) -> String {
        if self.tenant.is_empty() { self.authority_tenants.join(" ") } else { self.tenant.clone() }
    }
}

/// Longer than any identity that is accepted.
const MAX_CLAIMED_CHARS: usize = 256;
/// Most authorities speak for one.
const MAX_AUTHORITY_TENANTS: usize = 8;

/// The form of a record: always one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON object.
    Json,
    /// As the log's other lines, for people; the record is a JSON object in it.
    LogText,
    /// As the log's other lines, which are JSON objects.
    LogJson,
}

/// A record of access.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record<'a> {
    #[serde(skip)]
    time: SystemTime,
    pub(crate) action: Action,
    pub(crate) method: &'static str,
    #[serde(flatten)]
    pub(crate) caller: Caller,
    /// Of a method that there is not: what was called.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
    /// The resource, as the request named it when the call was refused; of FindMessage, the message's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) queue: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) subscription: String,
    /// Of messages: sequences of the queue.
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    pub(crate) sequences: Ranges,
    /// Of deliveries: lease, a colon, indices in it.
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    pub(crate) leases: Ranges,
    /// Of settlements: by action, lease, a colon, indices in it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) settled: BTreeMap<&'static str, Ranges>,
    /// Of messages; of a record of many refusals, how many.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) count: u64,
    /// Of many, when the first and the last were.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) first_time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) last_time: String,
    /// Of what was not done, how many.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) not_done: u64,
    /// `OK`, or the gRPC code.
    pub(crate) outcome: &'static str,
    /// Of a failure.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) reason: Cow<'a, str>,
    /// Of the call's `traceparent`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) trace_id: Cow<'a, str>,
}

impl<'a> Record<'a> {
    /// A record of now that went well.
    pub(crate) fn new(action: Action, method: &'static str, caller: Caller) -> Self {
        Self {
            time: SystemTime::now(),
            action,
            method,
            caller,
            path: String::new(),
            queue: String::new(),
            subscription: String::new(),
            sequences: Ranges::default(),
            leases: Ranges::default(),
            settled: BTreeMap::new(),
            count: 0,
            first_time: String::new(),
            last_time: String::new(),
            not_done: 0,
            outcome: "OK",
            reason: Cow::Borrowed(""),
            trace_id: Cow::Borrowed(""),
        }
    }

    /// Makes it the record of `count` refusals, from the first to the last, reported now.
    pub(super) fn of_many(&mut self, count: u64, first: SystemTime, last: SystemTime) {
        (self.time, self.count) = (SystemTime::now(), count);
        (self.first_time, self.last_time) = (utc(first), utc(last));
    }

    /// The record without borrowed parts.
    pub(super) fn into_owned(self) -> Record<'static> {
        let reason = Cow::Owned(self.reason.into_owned());
        let trace_id = Cow::Owned(self.trace_id.into_owned());
        Record { reason, trace_id, ..self }
    }

    /// One line, without characters that control a terminal.
    pub(super) fn line(&self, form: Form) -> Vec<u8> {
        let time = utc(self.time);
        let message = if self.action == Action::Refused { "access refused" } else { "access" };
        match form {
            Form::Json => json(&Plain { time: &time, record: self }) + "\n",
            Form::LogText => format!("{time}  INFO {message}: {}\n", json(self)),
            Form::LogJson => {
                let line = LogLine { timestamp: &time, level: "INFO", target: TARGET, message, record: self };
                json(&line) + "\n"
            }
        }
        .into_bytes()
    }
}

/// The target that distinguishes records of access from other lines in the log's JSON.
const TARGET: &str = "posthouse::access";

#[derive(Serialize)]
struct Plain<'a> {
    time: &'a str,
    #[serde(flatten)]
    record: &'a Record<'a>,
}

#[derive(Serialize)]
struct LogLine<'a> {
    timestamp: &'a str,
    level: &'a str,
    target: &'a str,
    message: &'a str,
    #[serde(flatten)]
    record: &'a Record<'a>,
}

fn json(value: &impl Serialize) -> String {
    // Nothing in it can fail to be written: no map has keys other than strings.
    let json = serde_json::to_string(value).unwrap_or_default();
    shown::json(&json).into_owned()
}

/// Numbers in ranges, for example `3-9`; with a prefix, `7:3-9`. Bounded: a batch that needs more has several records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "Vec<String>")]
pub(crate) struct Ranges {
    ranges: Vec<(Option<u64>, u64, u64)>,
}

impl Ranges {
    /// Adds a number; those that follow one another become one range.
    pub(crate) fn add(&mut self, of: Option<u64>, number: u64) {
        if let Some((last_of, _, last)) = self.ranges.last_mut()
            && *last_of == of
            && last.checked_add(1) == Some(number)
        {
            *last = number;
        } else if self.ranges.len() < MAX_ACCESS_RANGES {
            // Callers check `is_full` and begin another record in time.
            self.ranges.push((of, number, number));
        }
    }

    /// Whether there may be no space for the next number.
    pub(crate) fn is_full(&self) -> bool {
        self.ranges.len() >= MAX_ACCESS_RANGES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl From<Ranges> for Vec<String> {
    fn from(ranges: Ranges) -> Self {
        let written = |(of, first, last): (Option<u64>, u64, u64)| {
            let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
            of.map_or_else(|| range.clone(), |of| format!("{of}:{range}"))
        };
        ranges.ranges.into_iter().map(written).collect()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// As RFC 3339 has it, in UTC, to the millisecond.
pub(crate) fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// The date of a day after 1970-01-01, counted in eras of 400 years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_is_written_as_people_read_it() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_200, "2024-03-01T00:00:00.007Z"),
            (4_102_444_799, "2099-12-31T23:59:59.007Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + 7)), text);
        }
    }

    #[test]
    fn numbers_that_follow_one_another_are_one_range_and_there_is_an_end() {
        let mut ranges = Ranges::default();
        [3, 4, 5, 9].into_iter().for_each(|number| ranges.add(None, number));
        assert_eq!(Vec::from(ranges), ["3-5", "9"]);
        let mut leases = Ranges::default();
        [(7, 0), (7, 1), (8, 2)].into_iter().for_each(|(lease, index)| leases.add(Some(lease), index));
        assert_eq!(Vec::from(leases), ["7:0-1", "8:2"]);
        let mut many = Ranges::default();
        (0..10_000).for_each(|number| many.add(None, 2 * number));
        assert!(many.is_full());
        assert_eq!(Vec::from(many).len(), MAX_ACCESS_RANGES);
    }

    #[test]
    fn a_line_is_one_json_object_whatever_a_caller_is_called() {
        let mut record = Record::new(Action::Refused, "m", Caller::default());
        record.caller.subject = "a\n{\"b\":1}\u{1b}[31m\u{9b}\u{202e}".to_owned();
        record.queue = "x".repeat(100);
        record.of_many(7, UNIX_EPOCH, UNIX_EPOCH);
        for (form, begins) in [(Form::Json, "{"), (Form::LogJson, "{"), (Form::LogText, "20")] {
            let line = String::from_utf8(record.line(form)).unwrap();
            assert!(line.starts_with(begins) && line.matches('\n').count() == 1, "{line}");
            assert!(
                line.trim_end().chars().all(|character| !character.is_control() && character != '\u{202e}')
            );
            let read: serde_json::Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
            assert_eq!((&read["action"], &read["outcome"]), (&"refused".into(), &"OK".into()));
            assert_eq!(read["subject"], record.caller.subject);
            assert_eq!(
                (&read["count"], &read["first_time"]),
                (&7.into(), &"1970-01-01T00:00:00.000Z".into())
            );
        }
        let log: serde_json::Value = serde_json::from_slice(&record.line(Form::LogJson)).unwrap();
        assert_eq!((&log["target"], &log["message"]), (&TARGET.into(), &"access refused".into()));
    }
}
