//! Encodings of text files. Posthouse reads UTF-8; editors on other systems put a byte-order mark before it, or save
//! UTF-16 by default.

use std::borrow::Cow;

use rustls_pki_types::pem::Error as PemError;
use thiserror::Error;

/// The byte-order mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Begin of a section of PEM.
const PEM_BEGIN: &[u8] = b"-----BEGIN ";

/// The bytes are not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WrongEncoding {
    /// Saved as UTF-16 or UTF-32.
    #[error("it is {0}; save it as UTF-8")]
    Wide(&'static str),
    /// Any other encoding.
    #[error("it is not UTF-8 (byte {0} is wrong); save it as UTF-8")]
    NotUtf8(usize),
}

/// Strips a byte-order mark. UTF-16 and UTF-32 are refused by name, with or without their marks.
pub fn without_mark(bytes: &[u8]) -> Result<&[u8], WrongEncoding> {
    let wide = match *bytes {
        [0xff, 0xfe, 0, 0, ..] | [1..=0xff, 0, 0, 0, ..] => "UTF-32 (little-endian)",
        [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, 1..=0xff, ..] => "UTF-32 (big-endian)",
        [0xff, 0xfe, ..] | [1..=0xff, 0, ..] => "UTF-16 (little-endian)",
        [0xfe, 0xff, ..] | [0, 1..=0xff, ..] => "UTF-16 (big-endian)",
        _ => return Ok(bytes.strip_prefix(MARK).unwrap_or(bytes)),
    };
    Err(WrongEncoding::Wide(wide))
}

/// The text of a file, without a byte-order mark.
pub fn text(bytes: &[u8]) -> Result<&str, WrongEncoding> {
    let text = without_mark(bytes)?;
    let marked = bytes.len() - text.len();
    std::str::from_utf8(text).map_err(|error| WrongEncoding::NotUtf8(marked + error.valid_up_to() + 1))
}

/// PEM without byte-order marks. Files are often concatenated, and PEM readers skip a section whose first line begins
/// with a mark.
pub fn pem(bytes: &[u8]) -> Result<Cow<'_, [u8]>, WrongEncoding> {
    let bytes = without_mark(bytes)?;
    let marked = [MARK, PEM_BEGIN].concat();
    if !bytes.windows(marked.len()).any(|window| window == marked) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if rest.starts_with(&marked) {
            rest = &rest[MARK.len()..];
        } else {
            clean.push(*first);
            rest = after;
        }
    }
    Ok(Cow::Owned(clean))
}

/// The fault of a private key in PEM.
pub fn key_fault(error: &PemError, pem: &[u8]) -> &'static str {
    // An own section (PKCS #8), or a header in a section (OpenSSL's old form).
    let is_encrypted = [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"];
    if is_encrypted.iter().any(|sign| pem.windows(sign.len()).any(|window| window == *sign)) {
        return "it is encrypted; write it without a passphrase (`openssl pkey -in OLD -out NEW`), for its user alone";
    }
    pem_fault(error)
}

/// The fault of a PEM file. The library's error would repeat the line, which may be a whole private key.
pub fn pem_fault(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a section has no end",
        PemError::IllegalSectionStart { .. } => {
            "the first line of a section is not \"-----BEGIN ...-----\" alone"
        }
        PemError::Base64Decode(_) => "a section is not base64",
        PemError::NoItemsFound => "it has no section of the kind that is asked for",
        PemError::SectionTooLarge => "a section is too large",
        _ => "it cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};

    use super::{WrongEncoding, key_fault, pem, pem_fault, text};

    fn wide(text: &str, order: fn(u16) -> [u8; 2], mark: bool) -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter().chain(text.encode_utf16()).flat_map(order).collect()
    }

    #[test]
    fn a_mark_is_no_part_of_the_text() {
        assert_eq!(text(b"\xef\xbb\xbf[server]"), Ok("[server]"));
        assert_eq!(text(b"\xef\xbb\xbf"), Ok(""));
        for same in ["", "a", "签发", "\u{0}", "a\u{feff}b"] {
            assert_eq!(text(same.as_bytes()), Ok(same));
        }
    }

    #[test]
    fn other_encodings_are_named() {
        for (bytes, name) in [
            (wide("[server]", u16::to_le_bytes, true), "UTF-16 (little-endian)"),
            (wide("[server]", u16::to_be_bytes, true), "UTF-16 (big-endian)"),
            (wide("[server]", u16::to_le_bytes, false), "UTF-16 (little-endian)"),
            (wide("[server]", u16::to_be_bytes, false), "UTF-16 (big-endian)"),
            (wide("签发", u16::to_le_bytes, true), "UTF-16 (little-endian)"),
            ("[s".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(), "UTF-32 (little-endian)"),
            ("\u{feff}[".chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(), "UTF-32 (big-endian)"),
        ] {
            assert_eq!(text(&bytes), Err(WrongEncoding::Wide(name)), "{bytes:x?}");
            assert_eq!(pem(&bytes), Err(WrongEncoding::Wide(name)), "{bytes:x?}");
        }
        assert_eq!(text(b"ab\xff"), Err(WrongEncoding::NotUtf8(3)));
        assert_eq!(text(b"\xef\xbb\xbfab\xff"), Err(WrongEncoding::NotUtf8(6)));
    }

    #[test]
    fn no_fault_of_a_key_repeats_it() {
        for key in [
            "-----BEGIN PRIVATE KEY-----c2VjcmV0-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0!\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n",
            "c2VjcmV0",
        ] {
            let message = pem_fault(&PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap_err());
            assert!(!message.contains("c2Vj") && !message.contains("99, 50, 86"), "{message}");
        }
    }

    #[test]
    fn an_encrypted_key_is_named_as_one() {
        for key in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nc2VjcmV0\n\
             -----END RSA PRIVATE KEY-----\n",
        ] {
            let error = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap_err();
            assert!(key_fault(&error, key.as_bytes()).contains("encrypted"), "{key}");
        }
        let certificate = b"-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n";
        let error = PrivateKeyDer::from_pem_slice(certificate).unwrap_err();
        assert!(!key_fault(&error, certificate).contains("encrypted"));
    }

    #[test]
    fn pem_files_put_behind_each_other_lose_no_section() {
        let one = "\u{feff}-----BEGIN X-----\nAA\n-----END X-----\n";
        let both = [one, one].concat();
        assert_eq!(&*pem(both.as_bytes()).unwrap(), both.replace('\u{feff}', "").as_bytes());
        let plain = "-----BEGIN X-----\nAA\n-----END X-----\n".as_bytes();
        assert!(matches!(pem(plain), Ok(std::borrow::Cow::Borrowed(same)) if same == plain));
    }
}
