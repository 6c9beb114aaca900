//! Where a row stands. Kinds have explicit numbers that are never reused; one file per kind.
