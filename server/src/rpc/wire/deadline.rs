//! The deadline of a call: the header `grpc-timeout`, which says how long the caller waits for its answer.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderName};
use posthouse_proto::v1::ErrorReason;
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::{limits, rpc::wire::status::ApiError};

/// Name of the header.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The gRPC specification allows so many digits.
const MAX_DIGITS: usize = 8;

/// When the caller gives up; in a request's extensions, if the caller has set a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// The deadline of a request that has arrived now with these headers.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut values = headers.get_all(GRPC_TIMEOUT).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let timeout = values.next().is_none().then(|| parse(value.as_bytes())).flatten();
        let timeout = timeout.ok_or_else(|| {
            let text =
                "it is 1 to 8 digits and one of H, M, S, m, u, n, once; leave it out to set no deadline";
            ApiError::field(ErrorReason::RequestInvalid, "grpc-timeout", text)
        })?;
        Ok(Some(Self(Instant::now() + timeout)))
    }

    /// The deadline of a call.
    pub(crate) fn of<T>(request: &Request<T>) -> Option<Self> {
        request.extensions().get().copied()
    }

    /// Until when messages may be leased to the caller, so that they reach it in time; `None` if that time has passed.
    pub(crate) fn last_lease(self) -> Option<Instant> {
        self.0.checked_sub(limits::LEASELESS_END).filter(|last| *last > Instant::now())
    }

    /// Returns an error once the caller has given up.
    pub(crate) fn check(self) -> Result<(), ApiError> {
        if Instant::now() < self.0 { Ok(()) } else { Err(Self::exceeded("the caller's deadline has passed")) }
    }

    /// The error of a call that cannot be answered in time.
    pub(crate) fn exceeded(text: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, text)
    }
}

/// Parses a timeout as the gRPC specification defines it. Its longest is 99,999,999 hours, which an `Instant` can hold.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic::Code;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<Deadline>, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(GRPC_TIMEOUT, HeaderValue::from_bytes(value).unwrap());
        }
        Deadline::read(&headers)
    }

    #[test]
    fn every_unit_is_read() {
        for (text, timeout) in [
            ("1H", Duration::from_secs(3_600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("00000004m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("0S", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3_600)),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(timeout), "{text}");
            assert!(read(&[text.as_bytes()]).unwrap().is_some(), "{text}");
        }
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[test]
    fn what_is_malformed_or_repeated_is_refused() {
        for text in
            ["", "S", "1", "1s", "1h", "123456789S", "-1S", "+1S", "1.5S", " 1S", "1S ", "1S,1S", "0x1S"]
        {
            let error = read(&[text.as_bytes()]).unwrap_err();
            assert_eq!(
                (error.code(), error.reason_name()),
                (Code::InvalidArgument, "REQUEST_INVALID"),
                "{text}"
            );
        }
        assert!(read(&[b"1S", b"1S"]).is_err());
        assert!(read(&[b"1\xff"]).is_err());
    }

    #[test]
    fn nothing_is_leased_at_the_end() {
        let of = |timeout: &[u8]| read(&[timeout]).unwrap().unwrap();
        let before = Instant::now();
        let last = of(b"10S").last_lease().unwrap();
        assert!(
            last >= before + Duration::from_millis(9_900) && last <= Instant::now() + Duration::from_secs(10)
        );
        assert_eq!(of(b"100m").last_lease(), None);
        assert_eq!(of(b"0n").last_lease(), None);
        assert!(of(b"10S").check().is_ok());
        assert_eq!(of(b"0n").check().unwrap_err().code(), Code::DeadlineExceeded);
    }
}
