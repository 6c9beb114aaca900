//! The service `grpc.health.v1`, which reports SERVING while the server is ready.

use std::sync::Arc;

use posthouse_proto::v1::{
    consumer_server::ConsumerServer, messages_server::MessagesServer, publisher_server::PublisherServer,
    queues_server::QueuesServer,
};
use tonic::server::NamedService;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
};

use crate::{
    observe::Observer,
    rpc::{ConsumerService, MessagesService, PublisherService, QueuesService},
};

/// The health service. Its calls need a client certificate, like all calls on this port, but no token.
pub(crate) fn health(observer: &Arc<Observer>) -> HealthServer<impl Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    tokio::spawn(report(reporter, Arc::clone(observer)));
    service
}

/// Reports the readiness of the server as a whole, and of each service under its name.
async fn report(reporter: HealthReporter, observer: Arc<Observer>) {
    let mut changes = observer.readiness.changes();
    while let Some(ready) = changes.next().await {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        set::<PublisherServer<PublisherService>>(&reporter, status).await;
        set::<ConsumerServer<ConsumerService>>(&reporter, status).await;
        set::<QueuesServer<QueuesService>>(&reporter, status).await;
        set::<MessagesServer<MessagesService>>(&reporter, status).await;
        reporter.set_service_status("", status).await;
    }
}

async fn set<S: NamedService>(reporter: &HealthReporter, status: ServingStatus) {
    reporter.set_service_status(S::NAME, status).await;
}
