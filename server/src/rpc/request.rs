//! Reads what the layers and the door have put into a request's extensions for its handler.

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

/// The caller's admission to the method, put there by the authentication layer; without it, no handler is reached.
pub(crate) fn admission<M: Rpc, T>(request: &Request<T>) -> Result<Admission<M>, Status> {
    let admitted = request.extensions().get::<Admitted>();
    admitted
        .and_then(Admitted::to)
        .ok_or_else(|| ApiError::fault("the request was not admitted to this method").into())
}

/// The door's signal that the request's connection, or the server, is about to close.
pub(crate) fn drain_signal<T>(request: &Request<T>) -> Result<CancellationToken, Status> {
    let found = request.extensions().get::<DrainSignal>().map(|drain_signal| drain_signal.0.clone());
    found.ok_or_else(|| ApiError::fault("the request has no drain signal").into())
}

/// The accounts of the request's connection, put there by the door.
pub(crate) fn accounts<T>(request: &Request<T>) -> Result<ConnectionAccounts, Status> {
    let found = request.extensions().get::<ConnectionAccounts>().cloned();
    found.ok_or_else(|| ApiError::fault("the request has no accounts").into())
}

/// The task of the request's call, put there by the door.
pub(crate) fn task<T>(request: &Request<T>) -> Result<CallTask, Status> {
    let found = request.extensions().get::<CallTask>().cloned();
    found.ok_or_else(|| ApiError::fault("the request has no task").into())
}

/// The identity of the request's connection, put there by the door.
pub(crate) fn connection<T>(request: &Request<T>) -> Result<Arc<ConnIdentity>, Status> {
    let found = request.extensions().get::<Arc<ConnIdentity>>().cloned();
    found.ok_or_else(|| ApiError::fault("the request has no connection").into())
}

/// The key by which the fair gate distinguishes connections.
pub(crate) fn connection_key(connection: &Arc<ConnIdentity>) -> ConnectionKey {
    // No two open connections have their identity at the same address.
    ConnectionKey(Arc::as_ptr(connection).addr())
}
