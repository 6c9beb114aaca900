//! Table and statements of a queue. They follow the extension pgmq and are faster in two points: rows are found again
//! by their `ctid`, which does not change while they are locked; and an update touches no index, since there is none on
//! `vt` (no query by `clock_timestamp()` could use it) and the pages have space for it.

/// Creates the table. A message is visible from its time `vt` on.
pub fn create(queue: &str) -> String {
    let table = quoted(queue);
    format!(
        "CREATE TABLE {table} (
            msg_id bigserial PRIMARY KEY,
            read_ct integer NOT NULL DEFAULT 0,
            enqueued_at timestamptz NOT NULL DEFAULT now(),
            vt timestamptz NOT NULL DEFAULT clock_timestamp(),
            message bytea NOT NULL
        ) WITH (fillfactor = 50);
        ALTER TABLE {table} ALTER message SET STORAGE EXTERNAL"
    )
}

/// Adds a batch.
pub fn publish(queue: &str) -> String {
    format!("INSERT INTO {} (message) SELECT unnest($1::bytea[])", quoted(queue))
}

/// Returns the oldest visible messages and hides them for a while.
pub fn receive(queue: &str) -> String {
    let table = quoted(queue);
    format!(
        "UPDATE {table} SET vt = clock_timestamp() + interval '30 s', read_ct = read_ct + 1
        WHERE ctid = ANY (ARRAY (
            SELECT ctid FROM {table} WHERE vt <= clock_timestamp()
            ORDER BY msg_id LIMIT $1 FOR UPDATE SKIP LOCKED
        ))
        RETURNING msg_id, message"
    )
}

/// Deletes messages by their ids.
pub fn settle(queue: &str) -> String {
    format!("DELETE FROM {} WHERE msg_id = ANY($1::bigint[])", quoted(queue))
}

/// The name of a queue's table.
fn quoted(queue: &str) -> String {
    format!("\"q_{}\"", queue.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_of_a_queue_ends_no_statement() {
        assert_eq!(super::quoted("a\"; x"), "\"q_a\"\"; x\"");
    }
}
