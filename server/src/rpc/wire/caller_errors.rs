//! Errors about who is calling, and what with, as errors of the wire: certificates, tokens, grants and names.

use std::time::Duration;

use posthouse_proto::v1::ErrorReason;
use tonic::Code;

use crate::{
    identity::IdentityError,
    limits,
    names::{NameError, NameKind},
    policy::Denied,
    rpc::wire::status::ApiError,
};

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

/// The limit that keeps tokens from being verified, and for how long; `None` for another error.
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
