/// The kind of a failure, for decisions of a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The context or a file that it names is missing or wrong.
    Configuration,
    /// No server answered at the endpoint, or the TLS handshake failed.
    Unreachable,
    /// The server does not accept the certificate or token.
    Unauthenticated,
    /// The token has no grant for this action.
    PermissionDenied,
    /// The queue, subscription or department does not exist.
    NotFound,
    /// A resource of this name exists.
    AlreadyExists,
    /// The request is not valid.
    InvalidArgument,
    /// The state of the resource does not allow the request.
    Conflict,
    /// The caller reached a limit.
    LimitReached,
    /// The server cannot answer now; a later attempt may succeed.
    Unavailable,
    /// The lease has ended: another consumer may have or have settled the message, or it was purged.
    LeaseLost,
    /// The time limit that the program set has passed.
    DeadlineExceeded,
    /// The publisher or consumer was closed before the server confirmed.
    Closed,
    /// The server or the protocol has a fault.
    Internal,
}
