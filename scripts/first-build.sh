#!/usr/bin/env bash
# Before the first build into a target folder, says how long it takes and what is compiled.
set -euo pipefail

target=${1:?TARGET_DIR}
compgen -G "$target/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null && exit 0
cat <<EOF
first build: RocksDB is not compiled in $target yet.
This takes 25 to 47 minutes on two cores, most of it for RocksDB (librocksdb-sys, 343 files of C++), which is compiled
once for all make targets. Cargo lists below what it compiles; while librocksdb-sys is compiled, the list stands still.
EOF
