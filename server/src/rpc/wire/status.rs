//! [`ApiError`], and the one place where errors become `tonic::Status`.
//!
//! Every error that leaves carries `google.rpc.ErrorInfo` with a reason of `posthouse.v1.ErrorReason`. Limits carry
//! `QuotaFailure`, bad input carries `BadRequest`, and an error after which a client may try again says when. A refusal
//! must not disclose more than the caller may know: the answers for an existing and a missing foreign queue are the
//! same bytes.

use std::{borrow::Cow, time::Duration};

use posthouse_proto::{google::rpc, v1::ErrorReason};
use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::{limits, names::NameError};

/// The domain of every reason.
const DOMAIN: &str = "posthouse.v1";

/// An error as the caller will see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    code: Code,
    reason: ErrorReason,
    message: Cow<'static, str>,
    metadata: Vec<(&'static str, String)>,
    retry_delay: Option<Duration>,
    field_violations: Vec<(Cow<'static, str>, String)>,
    quota_violations: Vec<(String, String)>,
}

impl ApiError {
    /// An error with a code, a stable reason and a message for developers, which holds no payload and no secret.
    pub fn new(code: Code, reason: ErrorReason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            metadata: Vec::new(),
            retry_delay: None,
            field_violations: Vec::new(),
            quota_violations: Vec::new(),
        }
    }

    /// `INVALID_ARGUMENT` about one field of the request, for example `queue.max_message_bytes`.
    pub fn field(
        reason: ErrorReason,
        field: impl Into<Cow<'static, str>>,
        problem: impl Into<String>,
    ) -> Self {
        let (field, problem) = (field.into(), problem.into());
        Self::new(Code::InvalidArgument, reason, format!("{field}: {problem}")).with_field(field, problem)
    }

    /// `REQUEST_INVALID` about the length of a producer's id or of a consumer's session id.
    pub(crate) fn session_id(field: &'static str, id: &[u8]) -> Self {
        let length = limits::SESSION_ID_BYTES;
        let text = format!("it has {} bytes; it takes {length}, chosen at random once", id.len());
        Self::field(ErrorReason::RequestInvalid, field, text).with_limit(length)
    }

    /// `NAME_INVALID` about one field of the request.
    pub fn name(field: &'static str, error: &NameError) -> Self {
        Self::field(ErrorReason::NameInvalid, field, error.to_string())
    }

    /// `INTERNAL`, for a fault that the caller can do nothing about. The cause goes to the log, not to the caller.
    pub fn internal() -> Self {
        Self::new(Code::Internal, ErrorReason::Internal, "internal error; the server's log has the cause")
    }

    /// Adds a key and its value to the `ErrorInfo`.
    #[must_use]
    pub fn with_metadata(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((key, value.into()));
        self
    }

    /// Adds the limit that was passed to the `ErrorInfo`, for programs.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // A limit is a number of any type.
    pub fn with_limit(self, limit: impl ToString) -> Self {
        self.with_metadata("limit", limit.to_string())
    }

    /// Adds the time after which the caller may try again.
    #[must_use]
    pub fn with_retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = Some(delay);
        self
    }

    /// Adds a field of the request that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        self.field_violations.push((field.into(), problem.into()));
        self
    }

    /// Adds a limit that was reached: who has it, and what it is.
    #[must_use]
    pub fn with_quota(mut self, subject: impl Into<String>, description: impl Into<String>) -> Self {
        self.quota_violations.push((subject.into(), description.into()));
        self
    }

    /// This error under another reason.
    #[must_use]
    pub(crate) fn because(self, reason: ErrorReason) -> Self {
        Self { reason, ..self }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The stable reason.
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// The stable reason as clients see it, without the schema's prefix.
    pub fn reason_name(&self) -> &'static str {
        let name = self.reason.as_str_name();
        name.strip_prefix("ERROR_REASON_").unwrap_or(name)
    }

    /// The message for developers.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The error as a message of the schema, for the results of single entries of a batch.
    pub fn to_proto(&self) -> rpc::Status {
        rpc::Status { code: self.code.into(), message: self.message.to_string(), details: self.details() }
    }

    fn details(&self) -> Vec<Any> {
        let mut details = vec![any(
            "google.rpc.ErrorInfo",
            &pb::ErrorInfo {
                reason: self.reason_name().to_owned(),
                domain: DOMAIN.to_owned(),
                metadata: self
                    .metadata
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), value.clone()))
                    .collect(),
            },
        )];
        if let Some(delay) = self.retry_delay {
            let retry_delay = prost_types::Duration::try_from(delay).ok();
            details.push(any("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay }));
        }
        if !self.field_violations.is_empty() {
            let violation = |(field, description): &(Cow<'_, str>, String)| pb::bad_request::FieldViolation {
                field: field.to_string(),
                description: description.clone(),
                ..Default::default()
            };
            let field_violations = self.field_violations.iter().map(violation).collect();
            details.push(any("google.rpc.BadRequest", &pb::BadRequest { field_violations }));
        }
        if !self.quota_violations.is_empty() {
            let violation = |(subject, description): &(String, String)| pb::quota_failure::Violation {
                subject: subject.clone(),
                description: description.clone(),
                ..Default::default()
            };
            let violations = self.quota_violations.iter().map(violation).collect();
            details.push(any("google.rpc.QuotaFailure", &pb::QuotaFailure { violations }));
        }
        details
    }
}

fn any(name: &str, message: &impl prost::Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

impl From<&ApiError> for Status {
    fn from(error: &ApiError) -> Self {
        Status::with_details(error.code, &*error.message, error.to_proto().encode_to_vec().into())
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        Self::from(&error)
    }
}

#[cfg(test)]
mod tests;
