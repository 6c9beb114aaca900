#!/usr/bin/env bash
# Builds the server with its deliberate bugs, which are never on by default, and puts it beside the real one as
# posthouse-planted: the tests show with it that such bugs would be caught. What both depend on, RocksDB among it, is
# compiled once. Build the real one after this: until then it is the other one that has its name.
set -euo pipefail
cd "$(dirname "$0")/.."

release=${CARGO_TARGET_DIR:-target}/release
cargo build --release --locked --workspace --bins --examples --features posthouse/planted-bugs
# By rename, so that a test that runs meanwhile never sees half a file.
cp "$release/posthouse" "$release/posthouse-planted.new"
mv "$release/posthouse-planted.new" "$release/posthouse-planted"
