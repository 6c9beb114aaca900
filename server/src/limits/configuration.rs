//! Limits of the configuration, of its defaults, and of the disk.

use std::{ops::RangeInclusive, time::Duration};

/// Largest configuration file, and largest file it names: all of them are read whole.
pub const MAX_CONFIG_FILE_BYTES: u64 = 4 << 20;
/// Fewest shards, so that a small installation still spreads its departments.
pub const MIN_SHARDS: u32 = 4;
/// Most shards: each has a log, a machine and timers of its own.
pub const MAX_SHARDS: u32 = 1024;
/// Shards unless configured.
pub const DEFAULT_SHARDS: u32 = 64;
/// From SIGTERM to exit unless configured: below the 30 s that Kubernetes grants.
pub const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(25);
/// Longest drain that may be configured.
pub const MAX_DRAIN_DEADLINE: Duration = Duration::from_secs(3600);
/// Longest `exp - iat` of a token unless configured.
pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Longest `exp - iat` that may be configured: a week, after which a lost token should be worth nothing.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// `identity.max_certificate_lifetime_seconds`: from a minute to ten years, which is as good as no limit.
pub const CERTIFICATE_LIFETIME_SECONDS: RangeInclusive<u64> = 60..=10 * 366 * 24 * 3600;
/// Callers' certificates that are valid for longer are warned of: a lost key is worth something until they end, and
/// nothing but the removal of their authority ends them before.
pub const LONG_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);
/// Certificates that were warned of, so that each is reported once. Beyond that, one warning says that there are more.
pub const MAX_LONG_CERTIFICATES_REPORTED: usize = 1024;

/// How often the files of certificates, keys and key sets are read again, for file systems that report no changes.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(60);
/// After a change of a file: how long nothing may change before the files are read, so that all of a change is seen.
pub const RELOAD_QUIET: Duration = Duration::from_millis(250);
/// How long files may continue to change before they are read nevertheless.
pub const RELOAD_PATIENCE: Duration = Duration::from_secs(2);

/// Publishes are refused with less free space than this, unless configured: leases, settlements and the store's own
/// work need it meanwhile.
pub const DEFAULT_MIN_FREE_DISK_BYTES: u64 = 256 << 20;
/// `server.min_free_disk_bytes`. Not less than the sum of the store's write buffers, which a flush writes out at once
/// (88 MiB), the log's next segment (64 MiB), and the publishes on their way (64 MiB).
pub const MIN_FREE_DISK_BYTES: RangeInclusive<u64> = 256 << 20..=1 << 50;
/// The free space is measured again when this part of it has been published.
pub const CHECK_PART: u64 = 32;

/// The part of it that a file holds on to, for the time when others have filled the disk nevertheless.
pub const BALLAST_PART: u64 = 4;
/// While too little space is free: how often the store is flushed, so that the log can remove what was consumed.
pub const FLUSH_WHEN_FULL_INTERVAL: Duration = Duration::from_secs(30);
/// Room on the disk beyond what publishes need, with which files of the log wait to be used again.
pub const RECYCLED_LOG_FREE_BYTES: u64 = 1 << 30;
/// How often a department's configuration is proposed again after the disk had no space for it.
pub const CONFIGURE_AGAIN_INTERVAL: Duration = Duration::from_secs(5);
