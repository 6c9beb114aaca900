//! Parses a line into a message.

use base64::{DecodeError, Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use posthouse_text::{WrongEncoding, without_mark};

use super::json::Json;

/// Keys about an earlier delivery, which are ignored.
const PASSED_OVER: [&str; 5] = ["id", "sequence", "publish_time", "attempt", "dead_letter"];
/// Most bytes that JSON needs for one byte of a payload, as in `\u0001`.
const WORST_ESCAPE: usize = 6;
/// Most bytes of attributes in JSON, and of the ignored keys.
const BESIDE_PAYLOAD: usize = 64 * (128 + 1024 + 8) * WORST_ESCAPE + 64 * 1024;

/// A parsed line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Payload of the message.
    pub payload: Bytes,
    /// Attributes of the message, with different keys.
    pub attributes: Vec<(String, String)>,
}

/// An error in a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line is empty, and other lines follow.
    #[error("the line is empty, and others follow it; every line has to be a JSON object")]
    Empty,
    /// The line is in another encoding.
    #[error("{0}")]
    Encoding(WrongEncoding),
    /// Not UTF-8.
    #[error("not UTF-8 at byte {0}; put bytes that are no text into payload_base64")]
    NotUtf8(usize),
    /// Not JSON.
    #[error("not JSON at column {column}: {what}")]
    Syntax {
        /// Column of the error.
        column: usize,
        /// The syntax error.
        what: String,
    },
    /// The line is JSON, but not an object.
    #[error("{0} in the place of an object; write {{\"payload\": \"...\"}}")]
    NotAnObject(&'static str),
    /// An unknown key.
    #[error("unknown key {0:?}; a line has payload or payload_base64, and attributes")]
    UnknownKey(String),
    /// A duplicate key.
    #[error("the key {0:?} stands there twice; leave one of them out")]
    Twice(String),
    /// A value of a wrong sort.
    #[error("{key} is {found}; it has to be {wanted}")]
    WrongSort {
        /// The key of the value.
        key: String,
        /// The sort of the value.
        found: &'static str,
        /// The allowed sort.
        wanted: &'static str,
    },
    /// Both payload keys.
    #[error("payload and payload_base64 stand there both; leave one of them out")]
    TwoPayloads,
    /// No payload.
    #[error("neither payload nor payload_base64; for an empty payload write \"payload\": \"\"")]
    NoPayload,
    /// Not base64.
    #[error("payload_base64 is not base64 of the standard alphabet with padding: {0}")]
    NotBase64(String),
}

/// Length of the longest line with a payload of this size.
pub const fn max_line_bytes(max_payload_bytes: usize) -> usize {
    max_payload_bytes * WORST_ESCAPE + BESIDE_PAYLOAD
}

/// Whether a line is empty, apart from white space and a byte-order mark.
pub fn is_empty(line: &[u8]) -> bool {
    without_mark(line).is_ok_and(|line| line.iter().all(u8::is_ascii_whitespace))
}

/// Parses a line. A byte-order mark before it is ignored: the line may be the first of a concatenated file.
pub fn parse(line: &[u8]) -> Result<Line, LineError> {
    let line = without_mark(line).map_err(LineError::Encoding)?;
    let text = std::str::from_utf8(line).map_err(|error| LineError::NotUtf8(error.valid_up_to()))?;
    if is_empty(line) {
        return Err(LineError::Empty);
    }
    let members = match serde_json::from_str::<Json>(text).map_err(|error| syntax(&error))? {
        Json::Object(members) => members,
        other => return Err(LineError::NotAnObject(other.sort())),
    };
    let (mut payload, mut base64, mut attributes, mut passed) = (None, None, None, Vec::new());
    for (key, value) in members {
        let twice = match &*key {
            "payload" => payload.replace(self::text("payload", value)?).is_some(),
            "payload_base64" => base64.replace(self::text("payload_base64", value)?).is_some(),
            "attributes" => attributes.replace(self::attributes(value)?).is_some(),
            other if PASSED_OVER.contains(&other) => {
                let twice = passed.contains(&key);
                passed.push(key.clone());
                twice
            }
            _ => return Err(LineError::UnknownKey(shown(&key))),
        };
        if twice {
            return Err(LineError::Twice(key));
        }
    }
    let payload = match (payload, base64) {
        (Some(text), None) => Bytes::from(text),
        (None, Some(text)) => decode(&text)?,
        (Some(_), Some(_)) => return Err(LineError::TwoPayloads),
        (None, None) => return Err(LineError::NoPayload),
    };
    Ok(Line { payload, attributes: attributes.unwrap_or_default() })
}

fn attributes(value: Json) -> Result<Vec<(String, String)>, LineError> {
    let members = match value {
        Json::Object(members) => members,
        other => {
            let (key, wanted) = ("attributes".to_owned(), "an object of texts");
            return Err(LineError::WrongSort { key, found: other.sort(), wanted });
        }
    };
    let mut attributes: Vec<(String, String)> = Vec::with_capacity(members.len());
    for (key, value) in members {
        let text = text(&format!("attribute {:?}", shown(&key)), value)?;
        attributes.push((key, text));
    }
    let mut keys: Vec<&String> = attributes.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(LineError::Twice(shown(pair[0]))),
        None => Ok(attributes),
    }
}

fn text(key: &str, value: Json) -> Result<String, LineError> {
    match value {
        Json::Text(text) => Ok(text),
        other => Err(LineError::WrongSort { key: key.to_owned(), found: other.sort(), wanted: "a text" }),
    }
}

fn decode(text: &str) -> Result<Bytes, LineError> {
    let what = |error| match error {
        DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => {
            format!("wrong at byte {at}")
        }
        DecodeError::InvalidLength(_) => "its length is not that of whole bytes".to_owned(),
        DecodeError::InvalidPadding => "its padding is wrong".to_owned(),
    };
    STANDARD.decode(text).map(Bytes::from).map_err(|error| LineError::NotBase64(what(error)))
}

fn syntax(error: &serde_json::Error) -> LineError {
    let said = error.to_string();
    let what = said.rsplit_once(" at line ").map_or(&*said, |(what, _)| what);
    LineError::Syntax { column: error.column(), what: what.to_owned() }
}

/// An arbitrary key, shortened for an error.
fn shown(key: &str) -> String {
    key.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(line: &str) -> Line {
        parse(line.as_bytes()).unwrap()
    }

    fn bad(line: &str) -> LineError {
        parse(line.as_bytes()).unwrap_err()
    }

    #[test]
    fn both_payloads_and_attributes_are_read() {
        assert_eq!(good(r#"{"payload":""}"#), Line { payload: Bytes::new(), attributes: vec![] });
        assert_eq!(good(r#"{"payload_base64":"/wA="}"#).payload, &b"\xff\x00"[..]);
        assert_eq!(good("{\"payload\":\"\\u7b7e\\n\"}\r").payload, "签\n".as_bytes());
        let line = good(
            r#" {"id":"x","attempt":3,"attributes":{"b":"2","a":""},"payload":"p","dead_letter":{"a":[1]}}"#,
        );
        assert_eq!(line.attributes, [("b".into(), "2".into()), ("a".into(), String::new())]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_line() {
        assert_eq!(good("\u{feff}{\"payload\":\"\u{feff}\"}").payload, "\u{feff}".as_bytes());
        for empty in ["", " ", "\r", "\t\r", "\u{feff}", "\u{feff}\r"] {
            assert!(is_empty(empty.as_bytes()), "{empty:?}");
        }
        assert!(!is_empty(b"{}") && !is_empty(b"\0\n"));
        let wide: Vec<u8> = "{\"payload\":\"a\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [wide.clone(), [&b"\xff\xfe"[..], &wide].concat()] {
            let said = parse(&bytes).unwrap_err().to_string();
            assert_eq!(said, "it is UTF-16 (little-endian); save it as UTF-8");
        }
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(bad(" "), LineError::Empty);
        assert_eq!(parse(b"{\"payload\":\"\xff\"}"), Err(LineError::NotUtf8(12)));
        assert!(matches!(bad(r#"{"payload":"a""#), LineError::Syntax { column: 14, .. }));
        assert!(matches!(bad(r#"{"payload":"a"} x"#), LineError::Syntax { column: 17, .. }));
        assert_eq!(bad("[1]"), LineError::NotAnObject("a list"));
        assert_eq!(bad("7"), LineError::NotAnObject("a number"));
        assert_eq!(bad(r#"{"payload":"a","colour":1}"#), LineError::UnknownKey("colour".into()));
        assert_eq!(bad(r#"{"payload":"a","payload":"b"}"#), LineError::Twice("payload".into()));
        assert_eq!(bad(r#"{"id":1,"id":2,"payload":"b"}"#), LineError::Twice("id".into()));
        assert_eq!(bad(r#"{"payload":"","attributes":{"k":"1","k":"2"}}"#), LineError::Twice("k".into()));
        assert_eq!(bad(r#"{"payload":"a","payload_base64":""}"#), LineError::TwoPayloads);
        assert_eq!(bad(r#"{"attributes":{}}"#), LineError::NoPayload);
        for (text, what) in [
            (r#"{"payload_base64":"/w"}"#, "padding"),
            (r#"{"payload_base64":"_w=="}"#, "byte 0"),
            (r#"{"payload_base64":"AAAAA"}"#, "whole bytes"),
        ] {
            let said = bad(text).to_string();
            assert!(said.contains(what), "{said}");
        }
    }

    #[test]
    fn no_fault_repeats_a_value() {
        for line in [
            r#"{"payload":["secret"]}"#,
            r#"{"payload":{"secret":"secret"}}"#,
            r#"{"attributes":"secret","payload":""}"#,
            r#"{"attributes":{"k":["secret"]},"payload":""}"#,
            r#""secret""#,
            r#"{"payload":"secret"#,
            r#"{"payload_base64":"!secret"}"#,
        ] {
            let said = bad(line).to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn the_longest_line_holds_the_worst_payload() {
        let payload = "\u{1}".repeat(1000);
        let line = serde_json::json!({ "payload": payload }).to_string();
        assert!(line.len() > 6000 && line.len() <= max_line_bytes(1000));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |open: &str, close: &str| {
            bad(&format!("{{\"payload\":{}1{}}}", open.repeat(5000), close.repeat(5000)))
        };
        assert!(matches!(nested("{\"a\":", "}"), LineError::Syntax { .. }));
        assert!(matches!(nested("[", "]"), LineError::WrongSort { .. }));
    }
}
