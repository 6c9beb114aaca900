//! The content of a message: what its producer published, in the form in which it is stored.
//!
//! Publishing encodes it, delivery opens it; encryption belongs here. Neither the engine nor the store decodes it.

use std::collections::{BTreeMap, HashMap};

use bytes::{Buf, Bytes};
use posthouse_engine::schema::Content;
use prost::{
    DecodeError, Message as _,
    encoding::{WireType, encode_key, encode_varint},
};

/// The field number of `Content.payload` in the store's schema.
const PAYLOAD_FIELD: u32 = 5;
/// The most bytes that the field's key and length take.
const PAYLOAD_KEY_BYTES: usize = 6;

/// What a producer published, unencrypted.
#[derive(Debug)]
pub(crate) struct PlainContent {
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) payload: Bytes,
}

/// The bytes of an unencrypted content before its payload. The payload's own bytes follow them and are not copied.
pub(crate) fn encode_head(attributes: HashMap<String, String>, payload: &Bytes) -> Bytes {
    let before = Content { attributes: attributes.into_iter().collect(), ..Content::default() };
    let mut head = Vec::with_capacity(before.encoded_len() + PAYLOAD_KEY_BYTES);
    // A Vec grows: encoding into it cannot fail.
    before.encode_raw(&mut head);
    if !payload.is_empty() {
        encode_key(PAYLOAD_FIELD, WireType::LengthDelimited, &mut head);
        encode_varint(payload.len() as u64, &mut head);
    }
    head.into()
}

/// Opens a content. A payload that lies in one piece of `content` is not copied.
///
/// # Errors
/// If it is not a content's encoding.
pub(crate) fn open(content: impl Buf) -> Result<PlainContent, DecodeError> {
    let Content { attributes, payload, .. } = Content::decode(content)?;
    Ok(PlainContent { attributes, payload })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_encoded_content_is_the_schemas_and_opens_as_it_was(
            attributes in prop::collection::hash_map(".{1,10}", ".{0,10}", 0..4),
            payload in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let payload = Bytes::from(payload);
            let head = encode_head(attributes.clone(), &payload);
            let whole = [&head[..], &payload].concat();
            let attributes: BTreeMap<_, _> = attributes.into_iter().collect();
            let content =
                Content { attributes: attributes.clone(), payload: payload.clone(), ..Content::default() };
            prop_assert_eq!(&whole, &content.encode_to_vec());
            let opened = open(head.chain(payload.clone())).unwrap();
            prop_assert_eq!((&opened.attributes, &opened.payload), (&attributes, &payload));
            prop_assert!(payload.is_empty() || opened.payload.as_ptr() == payload.as_ptr(), "it was copied");
        }
    }
}
