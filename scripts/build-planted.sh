#!/usr/bin/env bash
# Builds the server with its deliberate bugs, which are never on by default, and copies it to posthouse-planted beside
# the real one: the tests show with it that such bugs would be caught. The dependencies of both, RocksDB among them, are
# compiled once. Build the real one after this: until then, `posthouse` has the bugs, too.
set -euo pipefail
cd "$(dirname "$0")/.."

release=${CARGO_TARGET_DIR:-target}/release
cargo build --release --locked --workspace --bins --examples --features posthouse/planted-bugs
# Renamed, so that a running test never sees half a file.
cp "$release/posthouse" "$release/posthouse-planted.new"
mv "$release/posthouse-planted.new" "$release/posthouse-planted"
