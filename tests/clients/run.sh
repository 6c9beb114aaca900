#!/usr/bin/env bash
# Runs the samples in Python and Node against a real server, and lets a real Prometheus scrape it. `make test-clients`
# builds the server and installs what is needed. Ends what it started; keeps its folder when something fails.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${POSTHOUSE_CACHE:-$HOME/.cache/posthouse}/clients
PATH=${POSTHOUSE_CACHE:-$HOME/.cache/posthouse}/tools/bin:$PATH
posthouse=${POSTHOUSE_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/posthouse}
work=$(mktemp -d "${TMPDIR:-/tmp}/posthouse-clients-XXXXXX")
server='' prometheus=''

finish() {
    local status=$?
    [[ -z $prometheus ]] || kill "$prometheus" 2>/dev/null || true
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    wait
    if [[ $status == 0 ]]; then
        rm -rf "$work"
    else
        echo "test-clients FAILED; everything is left in $work" >&2
        tail -n 20 "$work"/*.log >&2 || true
    fi
    exit "$status"
}
trap finish EXIT

fail() {
    echo "test-clients: $*" >&2
    exit 1
}

# Tries a command until it succeeds, for a minute.
eventually() {
    local deadline=$((SECONDS + 60))
    until "$@" >>"$work/tries.log" 2>&1; do
        ((SECONDS < deadline)) || fail "did not succeed within a minute: $*"
        sleep 0.1
    done
}

# A free port, below those of outgoing connections.
free_port() {
    python3 - <<'EOF'
import random, socket
while True:
    port = random.randrange(10_000, 32_000)
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
    print(port)
    break
EOF
}

as() {
    "$posthouse" --context "$work/dev/contexts/$1.toml" "${@:2}"
}

start_server() {
    "$posthouse" dev --dir "$work/dev" --listen "127.0.0.1:$(free_port)" >"$work/server.log" 2>&1 &
    server=$!
    eventually server_answers
}

server_answers() {
    kill -0 "$server" || fail 'the server has ended'
    as civil-affairs ping
}

# A folder of the cache, which a command fills once for each version of its sources and of its runtime.
#   cached NAME FILE COMMAND...    prints the folder; the command gets it as its last argument
cached() {
    local folder
    folder=$cache/$1-$({ cat "$2"; python3 --version; node --version; } | sha256sum | cut -c 1-16)
    if [[ ! -e $folder/.complete ]]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        "${@:3}" "$folder" >&2
        touch "$folder/.complete"
    fi
    echo "$folder"
}

make_venv() {
    python3 -m venv "$1"
    "$1/bin/python" -m pip install --quiet --requirement "$here/python/requirements.txt"
}

install_modules() {
    cp "$here/node/package.json" "$here/node/package-lock.json" "$here/node/.npmrc" "$1"
    npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel error
}

# program LANGUAGE NAME ARGUMENTS...
program() {
    case $1 in
    python) PYTHONPATH=$work/generated "$venv/bin/python" "$here/python/$2.py" "${@:3}" ;;
    node) node "$work/node/$2.js" "$root/proto" "${@:3}" ;;
    esac
}

prepare_python() {
    venv=$(cached python "$here/python/requirements.txt" make_venv)
    mkdir "$work/generated"
    # google/rpc comes with the packages.
    "$venv/bin/python" -m grpc_tools.protoc -I "$root/proto" \
        --python_out="$work/generated" --grpc_python_out="$work/generated" "$root"/proto/posthouse/v1/*.proto
}

prepare_node() {
    local modules
    modules=$(cached node "$here/node/package-lock.json" install_modules)
    mkdir "$work/node"
    cp "$here"/node/*.js "$here/node/package.json" "$work/node"
    ln -s "$modules/node_modules" "$work/node/node_modules"
}

run_sample() {
    local language=$1 name=tenants/civil-affairs/departments/identity-cards/queues/$1 stats
    local foreign=tenants/taxation/departments/returns/queues/returns
    as civil-affairs queue create "identity-cards/$language" >>"$work/tries.log"
    program "$language" sample "$work/dev/contexts/civil-affairs.toml" "$name" "$foreign"
    # The output of the sample alone proves nothing: ask the server.
    stats=$(as civil-affairs queue describe "identity-cards/$language")
    for count in '"last_sequence": 36' '"ready": 0' '"in_flight": 0' '"waiting": 0' '"parked": 0'; do
        [[ $stats == *"$count"* ]] || fail "after the sample in $language, its queue is not at $count: $stats"
    done
    # A server with another name than the context has gets no token.
    if program "$language" sample "$work/dev/contexts/elsewhere.toml" "$name" "$foreign" >"$work/elsewhere.log" 2>&1; then
        fail "the sample in $language takes a server of any name"
    fi
    grep -qiE 'UNAVAILABLE' "$work/elsewhere.log" || fail "the sample in $language failed otherwise than at connecting"
    echo "$language: refused to talk to a server with another name"
}

# Streams that end cleanly, and others.
run_endings() {
    local language=$1 name=identity-cards/$1-endings
    local full=tenants/civil-affairs/departments/identity-cards/queues/$1-endings
    as civil-affairs queue create "$name-letters" >>"$work/tries.log"
    as civil-affairs queue create "$name" --lease-seconds 1 --max-attempts 3 --dead-letter-queue "$name-letters" \
        >>"$work/tries.log"
    program "$language" endings "$work/dev/contexts/civil-affairs.toml" "$full" "$full-letters"
}

# The samples' messages, counted by the server's metrics, Prometheus and its query language.
run_prometheus() {
    local listen management
    # The system chooses the port; the log has it.
    management=$(sed -n 's/.*answering probes and metrics address=\([0-9.:]*\).*/\1/p' "$work/server.log" | head -n 1)
    [[ -n $management ]] || fail 'the server does not say where it answers probes'
    curl -fsS "http://$management/metrics" >"$work/metrics.txt"
    promtool check metrics <"$work/metrics.txt" >"$work/promtool.log" 2>&1 || {
        cat "$work/promtool.log" >&2
        fail 'promtool does not like the metrics'
    }
    [[ ! -s $work/promtool.log ]] || fail "promtool has something to say: $(cat "$work/promtool.log")"
    listen=127.0.0.1:$(free_port)
    cat >"$work/prometheus.yml" <<EOF
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: posthouse
    static_configs: [{ targets: ["$management"] }]
EOF
    prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/prometheus" \
        --web.listen-address="$listen" >"$work/prometheus.log" 2>&1 &
    prometheus=$!
    eventually finds_samples "http://$listen/api/v1/query"
    echo "prometheus: $(promtool --version | head -n 1 | cut -d ' ' -f 3) scraped the server and finds both samples' messages"
}

finds_samples() {
    kill -0 "$prometheus" || fail 'prometheus has ended'
    local answer
    answer=$(curl -fsS "$1" --data-urlencode 'query=posthouse_messages_published_total == 72')
    [[ $answer == *'"__name__":"posthouse_messages_published_total"'* ]]
}

[[ -x $posthouse ]] || fail "$posthouse is missing: run \`make test-clients\`, or set POSTHOUSE_BIN"
start_server
sed 's/^server_name = .*/server_name = "elsewhere.example"/' "$work/dev/contexts/civil-affairs.toml" \
    >"$work/dev/contexts/elsewhere.toml"
# A queue of another tenant: it must be refused as if it did not exist.
as taxation queue create returns/returns >>"$work/tries.log"
prepare_python
prepare_node
run_sample python
run_sample node
run_prometheus
run_endings python
run_endings node
