//! Formats of times.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

/// A moment as in `2026-01-05T08:00:40Z`.
pub fn rfc3339(moment: SystemTime) -> String {
    Timestamp::from(moment).to_string()
}

/// A duration in its two largest units: `2 d 3 h`, `1 min 5 s`.
pub fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let units = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")];
    let Some(first) = units.iter().position(|(count, _)| *count > 0) else { return "0 s".to_owned() };
    let shown = units[first..].iter().take(2).filter(|(count, _)| *count > 0);
    shown.map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_600_040_250);
        assert_eq!(rfc3339(moment), "2026-01-05T08:00:40.250Z");
    }

    #[test]
    fn durations_are_shown_roughly() {
        for (seconds, shown) in
            [(0, "0 s"), (59, "59 s"), (65, "1 min 5 s"), (3600, "1 h"), (3659, "1 h"), (183_700, "2 d 3 h")]
        {
            assert_eq!(roughly(Duration::from_secs(seconds)), shown);
        }
    }
}
