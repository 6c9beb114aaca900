//! Times as they are shown.

use std::time::SystemTime;

use prost_types::Timestamp;

/// A moment as in `2026-01-05T08:00:40Z`.
pub fn rfc3339(moment: SystemTime) -> String {
    Timestamp::from(moment).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_shown_in_utc() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_600_040_250);
        assert_eq!(rfc3339(moment), "2026-01-05T08:00:40.250Z");
    }
}
