//! `grpc.health.v1`: serving until the server drains.

use posthouse_proto::v1::{
    consumer_server::ConsumerServer, publisher_server::PublisherServer, queues_server::QueuesServer,
};
use tokio_util::sync::CancellationToken;
use tonic_health::{
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
};

use super::{ConsumerService, PublisherService, QueuesService};

/// The health service. It needs a client certificate, as everything on this port, but no token.
pub(crate) fn health(drain: &CancellationToken) -> HealthServer<impl Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    tokio::spawn(report(reporter, drain.clone()));
    service
}

async fn report(reporter: HealthReporter, drain: CancellationToken) {
    reporter.set_serving::<PublisherServer<PublisherService>>().await;
    reporter.set_serving::<ConsumerServer<ConsumerService>>().await;
    reporter.set_serving::<QueuesServer<QueuesService>>().await;
    drain.cancelled().await;
    reporter.set_not_serving::<PublisherServer<PublisherService>>().await;
    reporter.set_not_serving::<ConsumerServer<ConsumerService>>().await;
    reporter.set_not_serving::<QueuesServer<QueuesService>>().await;
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
}
