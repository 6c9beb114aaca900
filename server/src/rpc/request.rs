//! What the layers and the door have put into a request for its handler.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::{
    account::ConnectionAccounts,
    door::{CallTask, DrainSignal},
    fair_gate::ConnectionKey,
    identity::ConnIdentity,
    policy::{Admission, Admitted, Rpc},
    rpc::wire::status::ApiError,
};

/// Who is calling, and what for: put there by the authentication layer, without which no handler is reached.
pub(crate) fn admission<M: Rpc, T>(request: &Request<T>) -> Result<Admission<M>, Status> {
    let admitted = request.extensions().get::<Admitted>();
    admitted
        .and_then(Admitted::to)
        .ok_or_else(|| ApiError::fault("the request was not admitted to this method").into())
}

/// Cancelled when the request's connection, or the server, is about to close: put there by the door.
pub(crate) fn drain_signal<T>(request: &Request<T>) -> Result<CancellationToken, Status> {
    let found = request.extensions().get::<DrainSignal>().map(|drain_signal| drain_signal.0.clone());
    found.ok_or_else(|| ApiError::fault("the request has no connection to leave").into())
}

/// The accounts of the request's connection: put there by the door.
pub(crate) fn accounts<T>(request: &Request<T>) -> Result<ConnectionAccounts, Status> {
    let found = request.extensions().get::<ConnectionAccounts>().cloned();
    found.ok_or_else(|| ApiError::fault("the request has no accounts").into())
}

/// The task of the request's call: put there by the door.
pub(crate) fn task<T>(request: &Request<T>) -> Result<CallTask, Status> {
    let found = request.extensions().get::<CallTask>().cloned();
    found.ok_or_else(|| ApiError::fault("the request has no task").into())
}

/// On which connection: put there by the door.
pub(crate) fn connection<T>(request: &Request<T>) -> Result<Arc<ConnIdentity>, Status> {
    let found = request.extensions().get::<Arc<ConnIdentity>>().cloned();
    found.ok_or_else(|| ApiError::fault("the request has no connection").into())
}

/// The same, as the fair gate tells connections apart.
pub(crate) fn connection_key(connection: &Arc<ConnIdentity>) -> ConnectionKey {
    // No two that are open have the same.
    ConnectionKey(Arc::as_ptr(connection).addr())
}
