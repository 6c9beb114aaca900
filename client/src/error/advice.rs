use posthouse_proto::v1::ErrorReason;
use tonic::Code;

/// What to do about a refusal, by its reason, or else by its code.
pub(super) fn advice(code: Code, reason: Option<&str>) -> &'static str {
    reason
        .and_then(|reason| ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}")))
        .map_or_else(|| by_code(code), |reason| by_reason(reason).unwrap_or_else(|| by_code(code)))
}

fn by_reason(reason: ErrorReason) -> Option<&'static str> {
    use ErrorReason as R;
    Some(match reason {
        R::TokenMissing | R::TokenMalformed | R::TokenSignatureInvalid | R::TokenScopeInvalid => {
            "write a valid token to the context's token file"
        }
        R::TokenExpired => "write a fresh token to the context's token file; it is read again by itself",
        R::TokenNotYetValid => "check the clocks of this machine and of the token's issuer",
        R::TokenIssuerUnknown | R::TokenKeyUnknown => {
            "have an operator add the token's issuer and key to the server's configuration"
        }
        R::TokenAudienceWrong | R::TokenLifetimeTooLong => {
            "have the issuer mint a token with the audience and lifetime that the server expects"
        }
        R::TokenCertificateMismatch => {
            "have the token minted for the certificate of this context, and replace both together"
        }
        R::TenantMismatch => "use a certificate and a token of the same tenant",
        R::CertificateIdentityInvalid => "use a certificate with exactly one SPIFFE URI of your tenant",
        R::GrantMissing => "check the name, or ask for a token with a grant for this action on it",
        R::QueueNotFound => "check the name, or create the queue",
        R::QueueDeleted => "open anew if the queue that has the name now is meant",
        R::QueueAlreadyExists => "choose another name, or use the queue that is there",
        R::DepartmentNotFound => "check the name, or have an operator declare the department",
        R::EtagMismatch => "read the queue again and repeat the change on its newest state",
        R::QueueIsDeadLetterTarget => "first point the queues that send dead letters here elsewhere",
        R::ProducerMessageRefused => "publish the message anew",
        R::MessageTooLarge => "send a smaller message, or raise the queue's limit",
        R::ProducerFenced | R::SessionTakenOver => "stop this one, or open a new one: another has taken over",
        R::LeaseLost | R::SettledByAnother => {
            "treat the work as done by another; extend leases in time, or ask for longer ones"
        }
        R::MessagePurged => "drop the work: the message was purged and does not come again",
        R::RequestIdReused => "use a fresh request id for each request",
        R::DepartmentSetAside => {
            "have an operator look at the department: it is set aside until it is reopened"
        }
        R::AccessNotRecorded => "try again: the server's records of access cannot be written just now",
        R::DiskFull => "consume or purge messages, or have an operator add disk; then try again",
        R::ShardHalted => "have an operator look at the server's log for the department's shard",
        R::LimitReached | R::ServerOverloaded => "slow down and try again",
        R::DeadlineExceeded => "give the call more time",
        R::ServerDraining => "try again: the server is about to restart",
        _ => return None,
    })
}

fn by_code(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "check the context's certificate and token",
        Code::PermissionDenied => "ask for a token with a grant for this",
        Code::NotFound => "check the name",
        Code::InvalidArgument | Code::OutOfRange => "correct the request",
        Code::Unimplemented => "use a server and a client of matching versions",
        Code::Internal | Code::DataLoss => "have an operator look at the server's log",
        Code::ResourceExhausted => "slow down and try again",
        _ => "try again later",
    }
}
