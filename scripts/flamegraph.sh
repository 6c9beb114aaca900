#!/usr/bin/env bash
# Samples the server under a load of `posthouse-bench`, and writes a flame graph as an SVG.
#
#   flamegraph.sh RELEASE_DIR TOOLS_DIR [SCENARIO]     publish, consume, both or single
set -euo pipefail
release=$1 tools=$2 scenario=${3:-both}
out=${CARGO_TARGET_DIR:-target}/flamegraph-$scenario.svg
cd "$(dirname "$0")/.."
scripts/install-tools.sh profile "$tools"

data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
"$release/posthouse-bench" profile --scenario "$scenario" --perf "$data/perf.data"
perf script -i "$data/perf.data" 2>/dev/null | "$tools/bin/inferno-collapse-perf" 2>/dev/null >"$data/folded"
"$tools/bin/inferno-flamegraph" --title "posthouse serve, $scenario" <"$data/folded" >"$out"
echo "$out"
