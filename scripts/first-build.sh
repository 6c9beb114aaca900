#!/usr/bin/env bash
# Says before the first build into a target folder how long it takes and what is compiled; says nothing later.
set -euo pipefail

target=${1:?TARGET_DIR}
compgen -G "$target/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null && exit 0
cat <<EOF
first build: nothing is compiled in $target yet.
On two cores this takes 25 to 47 minutes, most of it for RocksDB (librocksdb-sys, 343 files of C++), which is compiled
once for all make targets. Cargo lists below what it compiles; when it stops at librocksdb-sys it is still at work.
EOF
