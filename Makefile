# What a user and a contributor run. Everything beside Rust, git and make is installed here.

SHELL := /bin/bash
.DELETE_ON_ERROR:

# As root apt-get works as it is, else through sudo if there is one.
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
# What the lab's users want to have in its nodes, and what its tests need.
LAB_PACKAGES := iproute2 bind9-dnsutils iputils-ping
TEST_PACKAGES := $(LAB_PACKAGES) bird2 frr gobgpd exabgp openbgpd stayrtr bgpdump nats-server prometheus systemd util-linux procps python3 curl openssl ethtool openssh-server openssh-client ngtcp2-client
# The packet programs are compiled by clang, against Linux's own headers (linux-libc-dev) and libbpf's
# helpers. Without them everything builds but these.
BUILD_PACKAGES := clang libbpf-dev linux-libc-dev
CARGO ?= cargo

.PHONY: help
help:
	@echo 'make lab      build, start the example Internet, show it and take the guided tour'
	@echo 'make test     everything that CI checks'
	@echo 'make check    the same without installing anything'
	@echo 'make fuzz     fuzz each parser for a minute'
	@echo 'make simulate a million hours of fleets under random faults, in virtual time'
	@echo 'make bench    the benchmarks, side by side with peers'
	@echo 'make build    the release binary, target/release/anycast'

.PHONY: build
build:
	$(CARGO) build --release --locked

.PHONY: lab
lab: lab-packages build
	target/release/anycast lab --once
	target/release/anycast lab run tour

.PHONY: test
test: test-packages nextest check

.PHONY: check
check: format clippy unit deny

.PHONY: format
format:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check

.PHONY: clippy
clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

.PHONY: unit
unit:
	$(CARGO) check --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --locked
	$(CARGO) test --workspace --locked --doc -q
	$(CARGO) nextest run --workspace --locked
	@.ci/skipped

.PHONY: deny
deny:
	./.ci/layers
	if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; \
	else echo 'skipped: cargo-deny is not installed (cargo install cargo-deny)'; fi

.PHONY: fuzz
fuzz:
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	cd fuzz && for target in $$(cargo fuzz list); do \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none $$target -- -max_total_time=60 || exit 1; done

# About 45 hours a fleet.
.PHONY: simulate
simulate:
	$(CARGO) run --release --locked -p anycast-simulation --bin simulate -- --seed 1 --seeds 22000

.PHONY: bench
bench: build
	benches/run

.PHONY: lab-packages
lab-packages:
	@.ci/packages "$(SUDO)" $(LAB_PACKAGES) $(BUILD_PACKAGES)

.PHONY: test-packages
test-packages:
	@.ci/packages "$(SUDO)" $(TEST_PACKAGES) $(BUILD_PACKAGES)

.PHONY: nextest
nextest:
	command -v cargo-nextest >/dev/null || $(CARGO) install --locked cargo-nextest
