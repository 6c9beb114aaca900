//! Errors as they are on the wire.

use posthouse_proto::google::rpc;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::pb::{BadRequest, ErrorInfo};

/// A refusal: its code, reason, message, and all details as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// The reason in the error's `ErrorInfo`.
    pub reason: String,
    /// The message, which is for developers.
    pub message: String,
    /// The facts in the error's `ErrorInfo`, in order.
    pub metadata: Vec<(String, String)>,
    /// All other details.
    pub details: Vec<u8>,
}

impl Refusal {
    /// A fact in the error's `ErrorInfo`.
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether it says when a retry may help.
    pub fn says_when_to_try_again(&self) -> bool {
        let details = rpc::Status::decode(&*self.details).unwrap().details;
        details.iter().any(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))
    }

    /// The request's fields that the error names.
    pub fn fields(&self) -> Vec<String> {
        let details = rpc::Status::decode(&*self.details).unwrap().details;
        let bad = details.iter().filter(|any| any.type_url.ends_with("/google.rpc.BadRequest"));
        let bad = bad.flat_map(|any| BadRequest::decode(&*any.value).unwrap().field_violations);
        bad.map(|violation| violation.field).collect()
    }
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let mut refusal = rpc::Status::decode(status.details()).map_or_else(
            |error| panic!("{status:?} has no details that can be read: {error}"),
            |details| Self::from(&details),
        );
        assert_eq!((refusal.code, refusal.message.as_str()), (status.code(), status.message()));
        refusal.details = status.details().to_vec();
        refusal
    }
}

impl From<&rpc::Status> for Refusal {
    fn from(status: &rpc::Status) -> Self {
        let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.ErrorInfo"));
        let info = info.unwrap_or_else(|| panic!("{status:?} has no ErrorInfo"));
        let info = ErrorInfo::decode(&*info.value).unwrap();
        assert_eq!(info.domain, "posthouse.v1");
        let mut metadata: Vec<_> = info.metadata.into_iter().collect();
        metadata.sort();
        Self {
            code: Code::from_i32(status.code),
            reason: info.reason,
            message: status.message.clone(),
            metadata,
            details: status.encode_to_vec(),
        }
    }
}

/// Fails the test unless the call was refused with this code and this reason.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &str) -> Refusal {
    let status = answer.expect_err("the server did what it has to refuse");
    let refusal = Refusal::from(&status);
    assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason), "{status:?}");
    refusal
}
