//! JSON read strictly: a member that appears twice, at any depth, refuses the whole text. Two readers that pick
//! different ones of two equal members would see two different tokens.

use std::{collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON value.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool,
    Unsigned(u64),
    /// A number with a sign, a fraction or an exponent, or a larger one: as it is written, since a conversion to a
    /// floating-point number would round it and lose how it was written.
    OtherNumber(String),
    Text(String),
    Array(Vec<Json>),
    Object(Object),
}

/// The members of an object.
pub(super) type Object = BTreeMap<String, Json>;

impl Json {
    pub(super) fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }
}

/// Reads one object, nested at most `depth` levels, with nothing behind it.
pub(super) fn parse_object(text: &[u8], depth: usize) -> Option<Object> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Json::Object(members) => Some(members),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom("nested too deep")),
        }
    }

    /// Reads a part of the text, which is judged as the whole text would be.
    fn read<E: serde::de::Error>(self, part: &RawValue) -> Result<Json, E> {
        let mut deserializer = serde_json::Deserializer::from_str(part.get());
        match self.deserialize(&mut deserializer).map_err(E::custom)? {
            Json::OtherNumber(_) => Ok(Json::OtherNumber(part.get().to_owned())),
            value => Ok(value),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::OtherNumber(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(part) = sequence.next_element::<Box<RawValue>>()? {
            values.push(inner.read(&part)?);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut members = Object::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = inner.read(&map.next_value::<Box<RawValue>>()?)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member appears twice"));
            }
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, parse_object};

    #[test]
    fn an_object_is_read() {
        let object = parse_object(br#" {"a":1,"b":[null,true,-1,1.0,"x"],"c":{}} "#, 2).unwrap();
        assert_eq!(object["a"], Json::Unsigned(1));
        let Json::Array(values) = &object["b"] else { panic!("no array") };
        let number = |text: &str| Json::OtherNumber(text.to_owned());
        let expected = [Json::Null, Json::Bool, number("-1"), number("1.0"), Json::Text("x".into())];
        assert_eq!(values.as_slice(), expected);
    }

    #[test]
    fn other_numbers_are_kept_as_they_are_written() {
        for text in ["1700000000.123456789012", "1e9", "1E+9", "-0", "0.1", "18446744073709551616"] {
            let object = parse_object(format!("{{\"a\" : {text} }}").as_bytes(), 1).unwrap();
            assert_eq!(object["a"], Json::OtherNumber(text.to_owned()));
        }
    }

    #[test]
    fn repeated_members_are_refused_at_any_depth_and_however_they_are_written() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"a":1,"a":2}}"#,
            r#"{"b":[{"a":1,"a":2}]}"#,
        ] {
            assert_eq!(parse_object(text.as_bytes(), 8), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in [
            "",
            "{",
            "[]",
            "1",
            "null",
            "\"a\"",
            "{}{}",
            "{} x",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "{\"a\":1e400}",
            "{\"a\":01}",
            "\u{feff}{}",
            "{\"a\":\"\n\"}",
            "{a:1}",
            "{\"a\":\"\\ud800\"}",
            "// x\n{}",
        ] {
            assert_eq!(parse_object(text.as_bytes(), 8), None, "{text:?}");
        }
        assert_eq!(parse_object(b"{\"a\":\"\xff\"}", 8), None);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse_object(nested(7).as_bytes(), 8).is_some());
        assert!(parse_object(nested(8).as_bytes(), 8).is_none());
        assert!(parse_object(nested(4000).as_bytes(), 8).is_none());
    }
}
