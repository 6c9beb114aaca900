/// What sort of failure an error is: what a program decides by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The context, or a file that it names, is missing or wrong.
    Configuration,
    /// No server answered at the endpoint, or the TLS handshake failed.
    Unreachable,
    /// The server does not accept who is calling.
    Unauthenticated,
    /// The caller's token has no grant for this.
    PermissionDenied,
    /// There is no such queue, subscription or department.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The input cannot be accepted as it is.
    InvalidArgument,
    /// The state of the resource does not allow it.
    Conflict,
    /// A limit was reached.
    LimitReached,
    /// The server cannot answer now; trying again later may help.
    Unavailable,
    /// The lease is gone: another consumer may have, or have settled, the message, or it was purged.
    LeaseLost,
    /// The program's own deadline passed first.
    DeadlineExceeded,
    /// The publisher or consumer was closed before this was confirmed.
    Closed,
    /// A fault of the server or of the protocol.
    Internal,
}
