#!/usr/bin/env bash
# Counts the instructions of `apply` per message and verb, and compares them with the expected counts. An emulated
# processor counts them, so that the load of the machine makes no difference and every run has the same result.
#
#   count-instructions.sh          exits with 1 if a verb needs more instructions than expected, beyond the tolerance
#   count-instructions.sh accept   makes the new counts the expected ones
#
# With another compiler or C library the counts differ: then the wider tolerance of the file is used.
set -euo pipefail
cd "$(dirname "$0")/.."

expected=engine/benches/instructions.toml
program=${CARGO_TARGET_DIR:-target}/release/examples/instructions
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

# Counts of other processors, or without glibc, cannot be compared.
if [[ "$(uname -sm)" != 'Linux x86_64' ]] || ! libc=$(getconf GNU_LIBC_VERSION 2>/dev/null); then
    echo 'instructions: not counted: that takes Linux on x86-64 with glibc'
    exit 0
fi
setting() {
    sed -n "s/^$1 = \"\\{0,1\\}\\([^\"]*\\)\"\\{0,1\\}\$/\\1/p" "$expected"
}
conditions="$(rustc --version), $libc, $(valgrind --version)"

# glibc chooses its functions for copying and comparing by the processor's features; so the choice is the same
# everywhere.
GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX,-ERMS,-FSRM,-BMI2,-MOVBE \
    valgrind --tool=callgrind --callgrind-out-file="$here/counts" --combine-dumps=yes \
    --toggle-collect='*measured_apply*' --dump-after='*verb_ends*' "$program" >"$here/verbs" 2>"$here/log" || {
    cat "$here/log" >&2
    exit 1
}

# Each verb has two parts: its preparation, and itself.
awk '/^totals:/ && ++part % 2 == 0 { print $2 }' "$here/counts" >"$here/totals"
paste -d ' ' "$here/verbs" "$here/totals" | awk '{ printf "%s = %.1f\n", $1, $3 / $2 }' >"$here/figures"
[[ $(wc -l <"$here/verbs") -gt 0 && $(wc -l <"$here/verbs") == $(wc -l <"$here/totals") ]] || {
    echo 'instructions: the counter did not see every verb' >&2
    exit 1
}

if [[ ${1:-} == accept ]]; then
    sed -e '/^\[per_message\]/q' -e "s/^conditions = .*/conditions = \"$conditions\"/" "$expected" >"$here/new"
    cat "$here/figures" >>"$here/new"
    cp "$here/new" "$expected"
    echo "instructions: $expected says what was counted"
    cat "$here/figures"
    exit 0
fi

tolerance=$(setting tolerance_percent)
if [[ "$conditions" != "$(setting conditions)" ]]; then
    tolerance=$(setting tolerance_elsewhere_percent)
    echo "instructions: counted with $conditions, expected with $(setting conditions): up to $tolerance % more are let pass"
fi
awk -v tolerance="$tolerance" '
    FNR == 1 { file++ }
    file == 1 { if (/^\[per_message\]/) figures = 1; else if (figures && NF == 3) expected[$1] = $3; next }
    !($1 in expected) { printf "instructions: of %s nothing is expected yet\n", $1; bad = 1; next }
    {
        more = 100 * ($3 / expected[$1] - 1)
        too_many = more > tolerance
        bad = bad || too_many
        printf "%-12s %8.1f per message, expected %8.1f  %+5.1f %%%s\n", $1, $3, expected[$1], more, too_many ? "  TOO MANY" : ""
        if (more < -tolerance) fewer = 1
    }
    END {
        if (bad) print "instructions: if that is meant: make instructions ACCEPT=1, and say why in the commit"
        else if (fewer) print "instructions: fewer than expected; so that it stays so: make instructions ACCEPT=1"
        exit bad
    }' "$expected" "$here/figures"
