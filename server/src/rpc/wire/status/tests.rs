use std::{sync::Arc, time::Duration};

use posthouse_proto::{google::rpc, v1::ErrorReason};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::ApiError;
use crate::{
    identity::{IdentityError, testing::principal},
    names::QueueResource,
    policy::{Admission, methods},
};

#[test]
fn the_reason_is_in_the_error_info() {
    let status = Status::from(ApiError::from(IdentityError::Expired));
    assert_eq!(status.code(), Code::Unauthenticated);
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("TOKEN_EXPIRED", "posthouse.v1"));
    assert!(info.metadata.is_empty());
}

#[test]
fn all_details_are_read_back_by_a_client() {
    let error = ApiError::field(ErrorReason::SettingsInvalid, "queue.max_message_bytes", "at most 16 MiB")
        .with_metadata("limit", "16777216")
        .with_retry_delay(Duration::from_millis(1500))
        .with_quota("tenants/tax", "queues");
    let status = Status::from(&error);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["limit"], "16777216");
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(1500)));
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "queue.max_message_bytes");
    assert_eq!(details.quota_failure().unwrap().violations[0].subject, "tenants/tax");
    assert_eq!(rpc::Status::decode(status.details()).unwrap(), error.to_proto());
}

#[test]
fn an_existing_and_a_missing_foreign_queue_get_the_same_bytes() {
    let caller = principal("tax", "app", "posthouse:publish:tax/*/*");
    let caller = Admission::<methods::Publish>::for_tests(Arc::new(caller));
    let answer = |name: &str| {
        let queue: QueueResource = name.parse().unwrap();
        let denied = caller.permit(&queue).unwrap_err();
        Status::from(ApiError::from(denied)).into_http::<()>().headers().clone()
    };
    let there = answer("tenants/police/departments/d/queues/there");
    assert_eq!(there, answer("tenants/police/departments/d/queues/not-there"));
    assert_eq!(there, answer("tenants/no-such-tenant/departments/none/queues/q"));
    assert_eq!(there["grpc-status"], "7");
}

#[test]
fn a_hostile_name_does_not_break_the_status() {
    let error = "tenants/t/departments/d/queues/a\r\nx-evil: 1".parse::<QueueResource>().unwrap_err();
    let status = Status::from(ApiError::from(error));
    assert_eq!(status.get_details_error_info().unwrap().reason, "NAME_INVALID");
    let response = status.into_http::<()>();
    assert!(response.headers().get("x-evil").is_none());
}
