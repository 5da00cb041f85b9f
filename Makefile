# Every task has one name here: what a person runs is what CI runs. `make` or `make help` lists them.
# Written for GNU make 3.81 and later, the one macOS has.

.DEFAULT_GOAL := help

# What is built stays outside the clone, so that a fresh clone does not build everything again.
RHIZOME_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rhizome
CARGO_TARGET_DIR ?= $(RHIZOME_CACHE)/target
export CARGO_TARGET_DIR

VENV := $(RHIZOME_CACHE)/venv
# The tests' Python: the one of the venv, with what tests/reader/requirements.txt names.
PY = "$(VENV)/bin/python"

SEEDS ?= 20000
ROUNDS ?= 100
FAULTS ?= 2000
FLIPS ?= 100000

.PHONY: help
help: ## list the tasks (this)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## check for what is needed, and install it on Debian and Ubuntu
	@sh tests/tools/setup.sh
	@$(MAKE) --no-print-directory venv

.PHONY: build
build: rust ## build the library, the cloud peer and the journal
	cargo build --workspace --locked

.PHONY: demo
demo: rust ## two devices and a cloud peer do what the product is for; ENTRIES=dir: with your own Markdown
	cargo build --locked -p rhizome-cloud -p rhizome-journal
	python3 tests/demo/demo.py $(if $(ENTRIES),--entries "$(ENTRIES)")

.PHONY: test
test: rust venv ## all tests: Rust, Swift, Kotlin, JavaScript, the reader in Python, the demo in short form checked by the reader
	cargo test --workspace --locked --features rhizome-ffi/testing
	python3 tests/fuzz/run.py --short
	cd tests/reader && $(PY) -m unittest discover -s tests -t .
	cd tests/reader && $(PY) -m rhizome_reader vectors ../vectors
	cargo build --locked -p rhizome-cloud -p rhizome-journal
	$(PY) tests/demo/demo.py --check
	$(PY) tests/ladder/ladder.py --short
	sh tests/tools/languages.sh
	sh tests/javascript/run.sh
	$(PY) tests/bench/run.py --check

.PHONY: sim
sim: rust ## the simulation with more schedules; SEEDS=n (20000), FIRST=seed (0)
	RHIZOME_SIM_SCHEDULES=$(SEEDS) RHIZOME_SIM_FIRST=$(or $(FIRST),0) cargo test --locked -p rhizome --test simulation -- --nocapture

.PHONY: kill
kill: rust ## kill a writing process at random points, more times; ROUNDS=n (100)
	RHIZOME_KILL_ROUNDS=$(ROUNDS) cargo test --locked -p rhizome --test kill

.PHONY: swift
swift: rust ## the Swift package with Swift 6: lint, tests against the real library, public names; ONLY=words: tests called so
	ios/tools/test $(if $(ONLY),--filter "$(ONLY)")

.PHONY: ios
ios: rust ## libraries for iPhones and their simulator as an XCFramework, and the release repository; URL=where its zip will be
	python3 ios/tools/xcframework.py "$(RHIZOME_CACHE)/ios" $(if $(URL),--url "$(URL)")

.PHONY: ladder
ladder: rust ## real programs on networks from good Wi-Fi to none; ONLY=word: those called so (Linux)
	cargo build --locked -p rhizome-cloud -p rhizome-journal
	python3 tests/ladder/ladder.py --only "$(ONLY)"

.PHONY: bench
bench: rust ## measure against others doing the same work; ONLY=id: one measure. Takes half an hour and a quiet machine
	@sh tests/tools/setup.sh bench
	python3 tests/bench/run.py $(if $(ONLY),--only $(ONLY))

.PHONY: bench-check
bench-check: rust
	python3 tests/bench/run.py --check

.PHONY: fuzz
fuzz: rust ## fuzz every decoder from the committed corpus on; TIME=seconds each (60), ONLY=target, SEED=n
	TIME="$(TIME)" ONLY="$(ONLY)" SEED="$(SEED)" python3 tests/fuzz/run.py

# Optimised: our own code is most of the work of opening a pod a hundred thousand times.
.PHONY: faults
faults: rust ## a disk that fails at every call, FAULTS=n schedules (2000), FLIPS=n spoiled bits and pages (100000)
	CARGO_PROFILE_DEV_OPT_LEVEL=2 RHIZOME_FAULTS=$(FAULTS) RHIZOME_FLIPS=$(FLIPS) \
		cargo test --locked -p rhizome-faults -- --nocapture --test-threads=2

.PHONY: hostile
hostile: rust ## hostile peers in the long form: floods of 10,000, a million tiny entries
	RHIZOME_HOSTILE_FULL=1 cargo test --locked -p rhizome-cloud --test hostile -- --nocapture --test-threads 1

.PHONY: large
large: rust ## an attachment of 1 GiB, cut at 99 % both ways: memory and what is sent; MIB=n (1024)
	CARGO_PROFILE_DEV_OPT_LEVEL=2 RHIZOME_LARGE_MIB=$(or $(MIB),1024) cargo test --locked -p rhizome-cloud --test large -- --nocapture

.PHONY: mutants
mutants: rust venv ## break a copy of the code in known ways; the tests must notice each
	$(PY) tests/mutants/run.py

.PHONY: mutantsall
mutantsall: rust venv ## change all that verifies, opens and authorises, one place at a time: an hour; FILES="core/src/log/entry.rs ..."
	$(PY) -m pip install --quiet --disable-pip-version-check -r tests/mutants/requirements.txt
	$(PY) tests/mutants/campaign.py $(FILES)

.PHONY: kotlin
kotlin: rust ## test the Kotlin library: JUnit on the JVM, Robolectric for Android, formatting, public names
	python3 android/make.py test

.PHONY: javascript
javascript: rust ## open a pod's documents with the JavaScript Automerge, and its own here (Node)
	sh tests/javascript/run.sh

.PHONY: android
android: rust ## the jar and the AAR into a local Maven repository, and use both there; with ANDROID_NDK_HOME for release
	python3 android/make.py package

.PHONY: arm
arm: rust ## the core's quick tests for ARM64 Linux, emulated (Linux)
	python3 android/make.py arm

.PHONY: vectors
vectors: rust ## write tests/vectors again, after a change of format
	RHIZOME_UPDATE_VECTORS=1 cargo test --locked -p rhizome --test vectors

.PHONY: lint
lint: rust ## formatting, clippy, links in the documentation, dependencies and their licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features rhizome-fuzz/libfuzzer,rhizome-ffi/testing --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --locked
	python3 tests/tools/snippets.py
	python3 tests/tools/licences.py --self-test
	python3 tests/tools/licences.py

.PHONY: clean
clean: ## remove what was built, and the tests' Python
	cargo clean
	rm -rf "$(VENV)"

# Not in the list: steps of the tasks above.

.PHONY: rust
rust:
	@sh tests/tools/setup.sh rust

# Made again when the requirements change or its Python is gone; otherwise this asks no network.
.PHONY: venv
venv:
	@if ! cmp -s tests/reader/requirements.txt "$(VENV)/requirements.txt" || ! $(PY) -c '' 2>/dev/null; then \
		echo "venv: installing tests/reader/requirements.txt into $(VENV)" && \
		mkdir -p "$(RHIZOME_CACHE)" && \
		python3 -m venv --clear "$(VENV)" && \
		$(PY) -m pip install --quiet --disable-pip-version-check -r tests/reader/requirements.txt && \
		cp tests/reader/requirements.txt "$(VENV)/requirements.txt"; \
	fi
