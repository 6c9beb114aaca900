//! Runs a proof on many random cases, from a seed that it prints.

use proptest::{
    prelude::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

/// `Ok` if all cases hold; else the first that does not, shrunk unless the proof is expected to fail.
pub fn prove<S: Strategy>(
    name: &str,
    cases: u32,
    shrink: bool,
    strategy: &S,
    holds: impl Fn(S::Value) -> Result<(), String>,
) -> Result<(), String> {
    prove_from(seed(), name, cases, shrink, strategy, holds)
}

/// Runs from a chosen seed.
pub fn prove_from<S: Strategy>(
    seed: u64,
    name: &str,
    cases: u32,
    shrink: bool,
    strategy: &S,
    holds: impl Fn(S::Value) -> Result<(), String>,
) -> Result<(), String> {
    println!("{name}: {cases} cases, POSTHOUSE_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: if shrink { 4_000 } else { 0 },
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let run = runner.run(strategy, |case| holds(case).map_err(TestCaseError::fail));
    run.map_err(|error| format!("{name}, POSTHOUSE_SEED={seed}: {error}"))
}

// A test may have another seed at each run, since it prints the seed.
#[allow(clippy::disallowed_methods)]
fn seed() -> u64 {
    if let Ok(seed) = std::env::var("POSTHOUSE_SEED") {
        return seed.parse().expect("POSTHOUSE_SEED is a number");
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos()) << 20 ^ now.as_secs()
}
