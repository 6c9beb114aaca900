# Posthouse. `make demo` shows it working, `make test` proves it; both install missing tools on Debian.
# There is one profile, release, because RocksDB takes long to compile and is compiled once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# All clones share a target folder, so that a new clone does not compile RocksDB again.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/posthouse/target
# Tools of pinned versions, apart from those of the user.
TOOLS := $(HOME)/.cache/posthouse/tools
export PATH := $(TOOLS)/bin:$(PATH)

CARGO_DENY_VERSION := 0.20.2
CRASH_ROUNDS ?= 30
RELEASE := --release --locked
# The program and the demo, without the benchmark, the clients of its peers, and the tests. Cargo resolves features for the
# selected packages and, only if an example is selected, for their dev-dependencies: with the whole workspace and the
# demo, every dependency has the features that the tests need, and `make test` compiles none again.
PROGRAM := --workspace --bin posthouse --example demo

# Figures that `make figures` measures; all if empty.
FIGURES ?=
# Arguments of `make attack`: the measurement and the attacks; see docs/attacks.md.
ATTACK ?=

# If set, `make instructions` makes its counts the expected ones.
ACCEPT ?=

# Arguments of `make bench`: see `posthouse-bench run --help`.
BENCH ?=

.PHONY: help build demo test test-clients crash attack figures bench bench-quick bench-report flamegraph instructions check fix advisories \
	binaries compilers gate-tools client-tools count-tools peers

help:
	@echo 'make build         the program, as bin/posthouse'
	@echo 'make demo          ten thousand citizen applications through a server that is killed on the way'
	@echo 'make test          every test, and the instructions per message'
	@echo 'make test-clients  clients in Python and Node made from proto/, and a real Prometheus'
	@echo 'make crash         $(CRASH_ROUNDS) rounds of kill -9 under load (CRASH_ROUNDS=N for others)'
	@echo 'make attack        floods and holds against a server of its own: memory, neighbours, connections (20 minutes at most)'
	@echo 'make figures       the promised speed, restart time and memory, measured here (minutes; on an idle machine)'
	@echo 'make bench         Posthouse, its peers and the limits of this machine, into docs/benchmarks (over an hour)'
	@echo 'make bench-quick   a short version of it in under two minutes, into target/bench-quick'
	@echo 'make flamegraph    where the server spends its time under load, as an SVG'
	@echo 'make instructions  the engine'"'"'s instructions per message, counted; fails if there are more (ACCEPT=1: accepts them)'
	@echo 'make check         the gate: format, lints, dependencies, documentation; changes nothing'
	@echo 'make fix           formats, and applies what the linter can fix by itself'
	@echo 'make advisories    known faults in the dependencies (fetches the database of RustSec)'

build: compilers
	cargo build $(RELEASE) $(PROGRAM)
	mkdir -p bin
	ln -sf $(abspath $(CARGO_TARGET_DIR))/release/posthouse bin/posthouse

demo: compilers
	cargo build $(RELEASE) $(PROGRAM)
	$(CARGO_TARGET_DIR)/release/examples/demo demo/applications.ndjson

test: binaries count-tools
	cargo test $(RELEASE) --workspace
	scripts/count-instructions.sh
	cargo test $(RELEASE) --workspace --features posthouse/planted-bugs --test proofs planted

test-clients: compilers client-tools
	cargo build $(RELEASE) --workspace --lib --bins --examples
	tests/clients/run.sh

crash: binaries
	POSTHOUSE_CRASH_ROUNDS=$(CRASH_ROUNDS) cargo test $(RELEASE) --workspace --test crash -- --nocapture

attack: compilers
	cargo build $(RELEASE) --workspace --bins --examples
	$(CARGO_TARGET_DIR)/release/examples/attack --out $(CARGO_TARGET_DIR)/attack.jsonl $(ATTACK)

figures: compilers
	cargo build $(RELEASE) --workspace --bins --examples
	$(CARGO_TARGET_DIR)/release/examples/figures $(FIGURES)

bench: compilers peers
	cargo build $(RELEASE) --workspace --bins --examples
	$(CARGO_TARGET_DIR)/release/posthouse-bench run $(BENCH)

bench-quick: compilers peers
	cargo build $(RELEASE) --workspace --bins --examples
	$(CARGO_TARGET_DIR)/release/posthouse-bench run --quick --out $(CARGO_TARGET_DIR)/bench-quick $(BENCH)

# Writes the report from existing raw data.
bench-report: compilers
	cargo build $(RELEASE) --workspace --bins --examples
	$(CARGO_TARGET_DIR)/release/posthouse-bench report

flamegraph: compilers
	cargo build $(RELEASE) --workspace --bins --examples
	scripts/flamegraph.sh $(CARGO_TARGET_DIR)/release $(TOOLS)

instructions: compilers count-tools
	cargo build $(RELEASE) --workspace --bins --examples
	scripts/count-instructions.sh $(if $(ACCEPT),accept)

# Programs of the tests: the server, the server with planted bugs, and the library that simulates power cuts. Always the
# whole workspace with its examples, so that every dependency has the features that all of its users need, those of tests
# included, and is compiled once.
binaries: compilers
	scripts/build-planted.sh
	cargo build $(RELEASE) --workspace --lib --bins --examples

check: compilers gate-tools
	cargo fmt --all --check
	cargo fetch --locked
	cargo deny --offline --locked check bans licenses sources
	cargo clippy $(RELEASE) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc $(RELEASE) --no-deps --workspace

advisories: gate-tools
	cargo deny --locked check advisories

fix: compilers
	cargo clippy $(RELEASE) --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

compilers:
	@scripts/install-tools.sh compilers
	@scripts/first-build.sh $(CARGO_TARGET_DIR)

client-tools:
	@scripts/install-tools.sh clients $(TOOLS)

peers:
	@scripts/install-tools.sh peers $(TOOLS)

count-tools:
	@scripts/install-tools.sh counts

gate-tools:
	@scripts/install-tools.sh gate $(TOOLS) $(CARGO_DENY_VERSION)
