use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use posthouse_proto::{google::rpc, v1::ErrorReason};
use posthouse_text::shown;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{ErrorKind, advice::advice};

/// A refusal of the server: its code, stable reason, message and details.
#[derive(Clone, Debug)]
pub struct Refusal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    message: String,
    reason: Option<String>,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
    fields: Vec<Violation>,
    quotas: Vec<Violation>,
}

/// One wrong field of a request, or one limit that it reached.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Violation {
    /// The field of the request, for example `queue.max_message_bytes`, or the owner of the limit, for example
    /// `tenants/tax`.
    pub subject: String,
    /// What is wrong with the field, or which limit it is.
    pub description: String,
}

impl Refusal {
    /// The refusal to continue on another queue of the same name. The client makes it itself, because the server cannot
    /// know of the queue before the break.
    pub(crate) fn queue_deleted() -> Self {
        Self(Arc::new(Inner {
            code: Code::NotFound,
            message:
                "the queue was deleted, and another was made under its name, while there was no connection"
                    .to_owned(),
            reason: Some("QUEUE_DELETED".to_owned()),
            metadata: HashMap::new(),
            retry_after: None,
            fields: Vec::new(),
            quotas: Vec::new(),
        }))
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The stable reason, for example `TOKEN_EXPIRED`: the name of an [`ErrorReason`] without its prefix.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The server's message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The stable reason as a value; `None` without one, or if this version does not know it. Later versions may add
    /// reasons: match with a `_` arm.
    pub fn error_reason(&self) -> Option<ErrorReason> {
        ErrorReason::from_str_name(&format!("ERROR_REASON_{}", self.reason()?))
    }

    /// The wrong fields of the request (`google.rpc.BadRequest`).
    pub fn field_violations(&self) -> &[Violation] {
        &self.0.fields
    }

    /// The limits that were reached (`google.rpc.QuotaFailure`).
    pub fn quota_violations(&self) -> &[Violation] {
        &self.0.quotas
    }

    /// A fact that the server sent with the reason, by its key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.0.metadata.get(key).map(String::as_str)
    }

    /// How long the server asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        match self.reason() {
            Some("LEASE_LOST" | "SETTLED_BY_ANOTHER" | "MESSAGE_PURGED") => return ErrorKind::LeaseLost,
            Some("SHARD_HALTED") => return ErrorKind::Unavailable,
            _ => {}
        }
        match self.0.code {
            Code::Unauthenticated => ErrorKind::Unauthenticated,
            Code::PermissionDenied => ErrorKind::PermissionDenied,
            Code::NotFound => ErrorKind::NotFound,
            Code::AlreadyExists => ErrorKind::AlreadyExists,
            Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidArgument,
            Code::FailedPrecondition | Code::Aborted => ErrorKind::Conflict,
            Code::ResourceExhausted => ErrorKind::LimitReached,
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        }
    }

    /// Whether the same request may succeed later although nobody changes anything.
    pub fn is_retryable(&self) -> bool {
        match self.reason() {
            Some("TOKEN_EXPIRED") => true,
            Some("SHARD_HALTED") => false,
            _ => matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::LimitReached),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The message may quote what other callers have sent.
        match (self.0.message.is_empty(), self.reason()) {
            (false, _) => write!(f, "{}", shown::one_line(&self.0.message))?,
            (true, Some(reason)) => write!(f, "{}", shown::one_line(reason))?,
            (true, None) => write!(f, "{}", self.0.code.description())?,
        }
        let violations = self.0.fields.iter().chain(&self.0.quotas);
        // The message often contains the description.
        for violation in violations.filter(|violation| !self.0.message.contains(&violation.description)) {
            let (subject, description) =
                (shown::one_line(&violation.subject), shown::one_line(&violation.description));
            write!(f, "; {subject}: {description}")?;
        }
        if let (false, Some(reason)) = (self.0.message.is_empty(), self.reason()) {
            write!(f, " [{}]", shown::one_line(reason))?;
        }
        write!(f, "; {}", advice(self.0.code, self.reason()))
    }
}

impl std::error::Error for Refusal {}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().cloned();
        let violation = |subject: &String, description: &String| Violation {
            subject: subject.clone(),
            description: description.clone(),
        };
        let fields = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations.iter().map(|it| violation(&it.field, &it.description)).collect()
        });
        let quotas = details.quota_failure().map_or_else(Vec::new, |quota| {
            quota.violations.iter().map(|it| violation(&it.subject, &it.description)).collect()
        });
        Self(Arc::new(Inner {
            code: status.code(),
            message: status.message().to_owned(),
            reason: info.as_ref().map(|info| info.reason.clone()),
            metadata: info.map_or_else(HashMap::new, |info| info.metadata),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
            fields,
            quotas,
        }))
    }
}

impl From<&rpc::Status> for Refusal {
    /// The status of one message or batch, which the server sent in a frame.
    fn from(status: &rpc::Status) -> Self {
        let code = Code::from_i32(status.code);
        Self::from(&Status::with_details(code, status.message.clone(), status.encode_to_vec().into()))
    }
}
