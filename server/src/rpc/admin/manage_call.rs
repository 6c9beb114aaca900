//! A call that changes a queue: who may make it, and how it is recognised when it is repeated.

use posthouse_engine::schema;
use tonic::{Request, Status};

use crate::{
    policy::{Admission, Asks, Permit, methods},
    rpc::{
        admin::{queue_settings::named_target, requests},
        context::{Department, queue_name},
        layers::call::Call,
        request::admission,
        wire::status::ApiError,
    },
};

/// A call that has a permit to manage the queue that it names.
pub(super) struct ManageCall<M: Asks<methods::Managing>> {
    admission: Admission<M>,
    pub(super) permit: Permit<methods::Managing>,
}

impl<M: Asks<methods::Managing>> ManageCall<M> {
    /// Checks the caller's rights on the queue of this name, which is in this field of the request.
    pub(super) fn of<T>(request: &Request<T>, field: &'static str, name: &str) -> Result<Self, Status> {
        Call::record_resource(request, name);
        let admission: Admission<M> = admission(request)?;
        let permit = admission.permit(&queue_name(field, name)?).map_err(ApiError::from)?;
        Ok(Self { admission, permit })
    }

    /// The request as the engine remembers it. One that is only validated has none: it is neither remembered nor
    /// compared with an earlier one.
    pub(super) fn request(
        &self,
        department: Department,
        id: &str,
        validate_only: bool,
        digested: &impl prost::Message,
    ) -> Option<Box<schema::Request>> {
        requests::of(&self.admission, department, id, digested).filter(|_| !validate_only)
    }
}

impl<M: Asks<methods::Managing> + Asks<methods::NamingDeadLetterQueue>> ManageCall<M> {
    /// Checks that the caller may name this dead-letter queue. A caller needs a right on it, whether or not it exists,
    /// because dead letters are published there. The one that the queue has already may stay.
    pub(super) fn check_dead_letter_queue(
        &self,
        dead_letter_queue: &str,
        current: &str,
    ) -> Result<(), ApiError> {
        match named_target(self.permit.queue(), dead_letter_queue)? {
            Some(target) if dead_letter_queue != current => {
                self.admission.permit::<methods::NamingDeadLetterQueue>(&target)?;
            }
            _ => {}
        }
        Ok(())
    }
}
