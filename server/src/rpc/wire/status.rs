//! The one place where errors become `tonic::Status`.
//!
//! Every error that leaves carries `google.rpc.ErrorInfo` with a reason of `posthouse.v1.ErrorReason`; limits carry
//! `QuotaFailure`, bad input carries `BadRequest`, and what may be tried again says when. A refusal must not tell
//! more than the caller may know: the answers for an existing and a missing foreign queue are the same bytes.

use std::{borrow::Cow, time::Duration};

use posthouse_proto::{google::rpc, v1::ErrorReason};
use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::{
    identity::IdentityError,
    limits,
    names::{NameError, NameKind},
    policy::Denied,
};

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

    /// `REQUEST_INVALID` about the id of a producer or of a consumer's session.
    pub(crate) fn session_id(field: &'static str, id: &[u8]) -> Self {
        let takes = limits::SESSION_ID_BYTES;
        let text = format!("it has {} bytes; it takes {takes}, chosen at random once", id.len());
        Self::field(ErrorReason::RequestInvalid, field, text).with_limit(takes)
    }

    /// `NAME_INVALID` about one field of the request.
    pub fn name(field: &'static str, error: &NameError) -> Self {
        Self::field(ErrorReason::NameInvalid, field, error.to_string())
    }

    /// `INTERNAL`, when the caller can do nothing about it. The cause goes to the log, not to the caller.
    pub fn internal() -> Self {
        Self::new(Code::Internal, ErrorReason::Internal, "internal error; the server's log has the cause")
    }

    /// Adds a fact to the `ErrorInfo`.
    #[must_use]
    pub fn with_metadata(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((key, value.into()));
        self
    }

    /// Tells the limit that was passed as a fact too, for programs.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // It is a number, of any type.
    pub fn with_limit(self, limit: impl ToString) -> Self {
        self.with_metadata("limit", limit.to_string())
    }

    /// Says when trying again may help.
    #[must_use]
    pub fn with_retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = Some(delay);
        self
    }

    /// Adds a field that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        self.field_violations.push((field.into(), problem.into()));
        self
    }

    /// Adds a limit that was reached: whose it is, and what it is.
    #[must_use]
    pub fn with_quota(mut self, subject: impl Into<String>, description: impl Into<String>) -> Self {
        self.quota_violations.push((subject.into(), description.into()));
        self
    }

    /// The same under another reason.
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

    /// The stable reason as the wire has it.
    pub fn reason_name(&self) -> &'static str {
        let name = self.reason.as_str_name();
        name.strip_prefix("ERROR_REASON_").unwrap_or(name)
    }

    /// The message for developers.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The error as a message, for the results of single entries.
    pub fn to_proto(&self) -> rpc::Status {
        rpc::Status { code: self.code.into(), message: self.message.to_string(), details: self.details() }
    }

    fn details(&self) -> Vec<Any> {
        let reason = self.reason.as_str_name();
        let mut details = vec![any(
            "google.rpc.ErrorInfo",
            &pb::ErrorInfo {
                reason: reason.strip_prefix("ERROR_REASON_").unwrap_or(reason).to_owned(),
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

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        if let Some((limit, retry)) = throttled(&error) {
            return Self::new(Code::ResourceExhausted, ErrorReason::LimitReached, error.to_string())
                .with_limit(limit)
                .with_retry_delay(retry);
        }
        let reason = match &error {
            IdentityError::Certificate(_) => ErrorReason::CertificateIdentityInvalid,
            IdentityError::TokenMissing => ErrorReason::TokenMissing,
            IdentityError::Malformed(_) => ErrorReason::TokenMalformed,
            IdentityError::Expired => ErrorReason::TokenExpired,
            IdentityError::NotYetValid => ErrorReason::TokenNotYetValid,
            IdentityError::IssuerUnknown => ErrorReason::TokenIssuerUnknown,
            IdentityError::KeyUnknown => ErrorReason::TokenKeyUnknown,
            IdentityError::SignatureInvalid => ErrorReason::TokenSignatureInvalid,
            IdentityError::AudienceWrong => ErrorReason::TokenAudienceWrong,
            IdentityError::LifetimeTooLong => ErrorReason::TokenLifetimeTooLong,
            IdentityError::Scope(_) => ErrorReason::TokenScopeInvalid,
            IdentityError::CertificateMismatch => ErrorReason::TokenCertificateMismatch,
            IdentityError::TenantMismatch => ErrorReason::TenantMismatch,
            IdentityError::ConnectionThrottled | IdentityError::CertificateThrottled { .. } => {
                ErrorReason::LimitReached
            }
        };
        Self::new(Code::Unauthenticated, reason, error.to_string())
    }
}

/// Which limit keeps tokens from being checked, and for how long.
fn throttled(error: &IdentityError) -> Option<(u32, Duration)> {
    match error {
        IdentityError::ConnectionThrottled => {
            Some((limits::MAX_AUTH_FAILURES, limits::THROTTLED_CONNECTION_RETRY))
        }
        IdentityError::CertificateThrottled { retry } => Some((limits::MAX_CERTIFICATE_FAILURES, *retry)),
        _ => None,
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let (code, reason) = match denied {
            Denied::GrantMissing => (Code::PermissionDenied, ErrorReason::GrantMissing),
            Denied::MethodNotAllowed => (Code::PermissionDenied, ErrorReason::MethodNotAllowed),
            Denied::KeyRemoved => (Code::Unauthenticated, ErrorReason::TokenKeyUnknown),
            Denied::Expired => (Code::Unauthenticated, ErrorReason::TokenExpired),
            Denied::OtherCaller => (Code::InvalidArgument, ErrorReason::FrameInvalid),
        };
        Self::new(code, reason, denied.to_string())
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        let field = match error.kind() {
            NameKind::Tenant => "tenant",
            NameKind::Department => "department",
            NameKind::DepartmentResource => "parent",
            NameKind::Queue | NameKind::QueueResource => "queue",
            NameKind::Subscription | NameKind::SubscriptionResource => "subscription",
        };
        Self::name(field, &error)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use posthouse_proto::{google::rpc, v1::ErrorReason};
    use prost::Message as _;
    use tonic::{Code, Status};
    use tonic_types::StatusExt as _;

    use super::ApiError;
    use crate::{
        identity::{IdentityError, testing::principal},
        names::QueueResource,
        policy::{Admission, methods},
    };

    #[test]
    fn the_reason_is_in_the_error_info() {
        let status = Status::from(ApiError::from(IdentityError::Expired));
        assert_eq!(status.code(), Code::Unauthenticated);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("TOKEN_EXPIRED", "posthouse.v1"));
        assert!(info.metadata.is_empty());
    }

    #[test]
    fn all_details_are_read_back_by_a_client() {
        let error =
            ApiError::field(ErrorReason::SettingsInvalid, "queue.max_message_bytes", "at most 16 MiB")
                .with_metadata("limit", "16777216")
                .with_retry_delay(Duration::from_millis(1500))
                .with_quota("tenants/tax", "queues");
        let status = Status::from(&error);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["limit"], "16777216");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(1500)));
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "queue.max_message_bytes");
        assert_eq!(details.quota_failure().unwrap().violations[0].subject, "tenants/tax");
        assert_eq!(rpc::Status::decode(status.details()).unwrap(), error.to_proto());
    }

    #[test]
    fn an_existing_and_a_missing_foreign_queue_get_the_same_bytes() {
        let caller = principal("tax", "app", "posthouse:publish:tax/*/*");
        let caller = Admission::<methods::Publish>::for_tests(Arc::new(caller));
        let answer = |name: &str| {
            let queue: QueueResource = name.parse().unwrap();
            let denied = caller.permit(&queue).unwrap_err();
            Status::from(ApiError::from(denied)).into_http::<()>().headers().clone()
        };
        let there = answer("tenants/police/departments/d/queues/there");
        assert_eq!(there, answer("tenants/police/departments/d/queues/not-there"));
        assert_eq!(there, answer("tenants/no-such-tenant/departments/none/queues/q"));
        assert_eq!(there["grpc-status"], "7");
    }

    #[test]
    fn a_hostile_name_does_not_break_the_status() {
        let error = "tenants/t/departments/d/queues/a\r\nx-evil: 1".parse::<QueueResource>().unwrap_err();
        let status = Status::from(ApiError::from(error));
        assert_eq!(status.get_details_error_info().unwrap().reason, "NAME_INVALID");
        let response = status.into_http::<()>();
        assert!(response.headers().get("x-evil").is_none());
    }
}
