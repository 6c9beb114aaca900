//! Departments and queues.

use posthouse_engine::{
    ids::{DepartmentId, QueueId, QueueRef},
    outcome::{
        CreateQueueError, DeleteQueueError, PurgeQueueError, QueueView, SettingsError, UpdateQueueError,
    },
    schema::{ConfigureDepartment, CreateQueue, DeleteQueue, PurgeQueue, QueueSettings, UpdateQueue},
};

use super::{Department, End, Model, Queue, State};

impl Model {
    pub fn configure(&mut self, command: &ConfigureDepartment) -> bool {
        let new = Department { closed: command.closed, index: command.catalogue_index, next_queue: 1 };
        let Some(held) = self.departments.get_mut(&command.department) else {
            self.departments.insert(command.department, new);
            return true;
        };
        if held.index >= command.catalogue_index {
            return false;
        }
        held.index = command.catalogue_index;
        std::mem::replace(&mut held.closed, command.closed) != command.closed
    }

    pub fn create(&mut self, command: &CreateQueue) -> Result<QueueView, CreateQueueError> {
        self.department(command.department)?;
        if let Some(at) = self.by_name(command.department, &command.name) {
            let queue = &self.queues[at];
            let request_id = command.request.as_ref().map_or(&command.request_id, |request| &request.id);
            let repeated = !request_id.is_empty() && queue.request_id == *request_id;
            return if repeated { Ok(queue.view()) } else { Err(CreateQueueError::AlreadyExists) };
        }
        let settings = self
            .settings(command.department, &command.name, command.settings.clone().unwrap_or_default())
            .map_err(CreateQueueError::Settings)?;
        let department = self.departments.get_mut(&command.department).unwrap();
        let id =
            QueueRef { department: DepartmentId(command.department), queue: QueueId(department.next_queue) };
        department.next_queue += 1;
        let queue = Queue {
            id,
            name: command.name.clone(),
            revision: 1,
            created_at: self.wall,
            updated_at: self.wall,
            settings,
            request_id: command.request_id.clone(),
            deleted: false,
            messages: Vec::new(),
            next_lease: 1,
            leases: Vec::new(),
            producers: Default::default(),
            sums: Default::default(),
        };
        let view = queue.view();
        self.queues.push(queue);
        Ok(view)
    }

    pub fn update(&mut self, command: &UpdateQueue) -> Result<QueueView, UpdateQueueError> {
        self.department(command.department)?;
        let at = self.by_name(command.department, &command.name).ok_or(UpdateQueueError::NotFound)?;
        let revision = self.queues[at].revision;
        if command.expected_revision != 0 && command.expected_revision != revision {
            return Err(UpdateQueueError::RevisionMismatch(revision));
        }
        let settings = self
            .settings(command.department, &command.name, command.settings.clone().unwrap())
            .map_err(UpdateQueueError::Settings)?;
        let queue = &mut self.queues[at];
        if queue.settings != settings {
            queue.settings = settings;
            queue.revision += 1;
            queue.updated_at = self.wall;
        }
        Ok(queue.view())
    }

    pub fn delete(&mut self, command: &DeleteQueue) -> Result<(), DeleteQueueError> {
        self.department(command.department)?;
        let at = self.by_name(command.department, &command.name).ok_or(DeleteQueueError::NotFound)?;
        let revision = self.queues[at].revision;
        if command.expected_revision != 0 && command.expected_revision != revision {
            return Err(DeleteQueueError::RevisionMismatch(revision));
        }
        let queue = &mut self.queues[at];
        queue.deleted = true;
        queue.messages.clear();
        queue.leases.clear();
        queue.producers.clear();
        Ok(())
    }

    pub fn purge(&mut self, command: &PurgeQueue) -> Result<u64, PurgeQueueError> {
        self.department(command.department)?;
        let at = self.by_name(command.department, &command.name).ok_or(PurgeQueueError::NotFound)?;
        let (now, queue) = (self.now, &mut self.queues[at]);
        for lease in &mut queue.leases {
            for item in &mut lease.items {
                let settled =
                    queue.messages[usize::try_from(item.sequence).unwrap() - 1].state == State::Settled;
                if item.end.is_none() || (item.end == Some(End::Lost) && !settled) {
                    item.end = Some(End::Purged);
                }
            }
            lease.closed_at.get_or_insert(now);
        }
        let mut purged = 0;
        for message in &mut queue.messages {
            purged += u64::from(message.state != State::Settled);
            message.state = State::Settled;
        }
        queue.sums.purged += purged;
        Ok(purged)
    }

    fn settings(
        &self,
        department: u32,
        name: &str,
        requested: QueueSettings,
    ) -> Result<QueueSettings, SettingsError> {
        let settings = QueueSettings {
            max_message_bytes: if requested.max_message_bytes == 0 {
                1 << 20
            } else {
                requested.max_message_bytes
            },
            lease_duration_ms: if requested.lease_duration_ms == 0 {
                30_000
            } else {
                requested.lease_duration_ms
            },
            max_attempts: if requested.max_attempts == 0 { 16 } else { requested.max_attempts },
            dead_letter_queue: requested.dead_letter_queue,
        };
        let target = &settings.dead_letter_queue;
        if target.is_empty() {
            return Ok(settings);
        }
        if target == name {
            return Err(SettingsError::DeadLetterSelf);
        }
        let here = |queue: &&Queue| !queue.deleted && queue.id.department.0 == department;
        let mut queues = self.queues.iter().filter(here);
        let chained = queues.any(|queue| {
            queue.name == *target && !queue.settings.dead_letter_queue.is_empty()
                || queue.settings.dead_letter_queue == name
        });
        if chained { Err(SettingsError::DeadLetterChain) } else { Ok(settings) }
    }
}
