//! The facts about a call that its access record and its metrics need.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use http::Request;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    identity::{ConnIdentity, Principal, RefusedIdentity},
    observe::{Action, Caller, Observer, Record, RecordSlot, trace_id},
    policy::{Kind, Method, methods},
    rpc::wire::code_name::code_name,
};

/// Characters of a resource's name in a record. No valid name is longer.
const MAX_RESOURCE_CHARS: usize = 256;

/// The facts about a call, in its request's extensions.
#[derive(Debug)]
pub(crate) struct Call {
    /// `None` if there is no method of the request's path.
    method: Option<&'static Method>,
    /// The path of a call without a method; otherwise empty.
    path: String,
    connection: Option<Arc<ConnIdentity>>,
    refused: Option<Arc<RefusedIdentity>>,
    principal: OnceLock<Arc<Principal>>,
    resource: OnceLock<String>,
    trace_id: Option<String>,
    /// Whether the end of the call has its record.
    recorded: AtomicBool,
}

impl Call {
    /// The facts that are known when the call's headers have arrived.
    pub(super) fn new<B>(request: &Request<B>) -> Self {
        let method = methods::find(request.uri().path());
        Self {
            method,
            path: method.map_or_else(|| escaped(request.uri().path()), |_| String::new()),
            connection: request.extensions().get().cloned(),
            refused: request.extensions().get().cloned(),
            principal: OnceLock::new(),
            resource: OnceLock::new(),
            trace_id: trace_id(request.headers()).map(str::to_owned),
            recorded: AtomicBool::new(false),
        }
    }

    /// Keeps the principal of a call whose certificate and token agree.
    pub(crate) fn admitted(&self, principal: &Arc<Principal>) {
        // It is set once per call.
        let _ = self.principal.set(Arc::clone(principal));
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.principal.get().is_some()
    }

    /// Keeps the resource that a request names, which need not exist, for the record of the call.
    pub(crate) fn record_resource<T>(request: &tonic::Request<T>, resource: &str) {
        if let Some(call) = request.extensions().get::<Arc<Self>>() {
            call.set_resource(resource);
        }
    }

    /// Keeps the resource that the call is about; that of a stream is in its first frame.
    pub(crate) fn set_resource(&self, resource: &str) {
        let _ = self.resource.set(escaped(resource));
    }

    /// The method's name in metrics and records.
    pub(super) fn name(&self) -> &'static str {
        self.method.map_or("other", Method::name)
    }

    pub(crate) fn is_kind(&self, kind: Kind) -> bool {
        self.method.is_some_and(|method| method.kind == kind)
    }

    /// Records how a change ended, in the slot that was reserved for it. A refused change is recorded as a refusal.
    pub(crate) fn changed(&self, observer: &Observer, status: &Status, slot: RecordSlot) {
        let reason = reason(status);
        if is_refusal(status.code()) {
            return self.refused(observer, status.code(), &reason);
        }
        self.recorded.store(true, Ordering::Relaxed);
        observer.access.put(&self.record(Action::Manage, status.code(), &reason), slot);
    }

    /// Records a refusal, unless the end of the call has its record.
    pub(super) fn refused(&self, observer: &Observer, code: Code, reason: &str) {
        if observer.access.keeps_changes() && !self.recorded.swap(true, Ordering::Relaxed) {
            observer.access.refused(self.record(Action::Refused, code, reason));
        }
    }

    fn record<'a>(&'a self, action: Action, code: Code, reason: &'a str) -> Record<'a> {
        let caller = match &self.refused {
            Some(refused) => Caller::refused(refused),
            None => Caller::of(self.principal.get().map(Arc::as_ref), self.connection.as_deref()),
        };
        let mut record = Record::new(action, self.name(), caller);
        record.path.clone_from(&self.path);
        record.queue = self.resource.get().cloned().unwrap_or_default();
        record.outcome = code_name(code);
        record.reason = reason.into();
        record.trace_id = self.trace_id.as_deref().unwrap_or_default().into();
        record
    }
}

/// A name or path in printable ASCII: other characters are in no valid name, and may look like those that are.
fn escaped(name: &str) -> String {
    name.chars().flat_map(char::escape_default).take(MAX_RESOURCE_CHARS).collect()
}

/// Whether the code says that certificate, token or grants do not allow the call.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied)
}

/// The reason of a status for metrics and records; empty if the call succeeded or was cancelled.
pub(super) fn reason(status: &Status) -> String {
    match status.code() {
        Code::Ok | Code::Cancelled => String::new(),
        code => {
            let info = status.get_details_error_info();
            info.map_or_else(|| code_name(code).to_owned(), |info| info.reason)
        }
    }
}
