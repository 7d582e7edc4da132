# Each target does its own set-up in .venv: `make demo` and `make test` need only Python and a C++
# compiler. nkfast is built through pip with build isolation and installed as a wheel, so that what
# runs is what a user gets, not this folder.

PYTHON ?= python3
WERROR ?= false#  true: compiler warnings are errors (CI)
PYTEST_ARGS ?=
CELLS ?=#  of `make matrix`: all by default
BASE ?=#  revisions for `make bench-compare`
HEAD ?= HEAD
COMPARE ?=#  its options
CASES ?= 20000
SEED ?= 0
JOBS ?= $(shell nproc 2>/dev/null || echo 1)

VENV  := .venv
BIN   := $(VENV)/bin
DONE  := $(VENV)/done
# The build folder of the wheel stays, so that tests/core/test_baseline.py can look at its object files.
BUILD := build/wheel
PIP   := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A process for each core; threads of BLAS besides would only wait for each other.
IN_PARALLEL := --numprocesses=auto --maxprocesses=8 --dist=worksteal
LINTED := src tests tools $(wildcard bench docs examples)
CXX_FILES = $(shell find csrc tests -name '*.cpp' -o -name '*.hpp')

# Folders are listed beside files: their time changes when a file is added or removed.
SOURCES := pyproject.toml meson.build meson.options README.md LICENSE \
  $(shell find csrc src \( -type d -o -type f \) ! -path '*/__pycache__*')

.DELETE_ON_ERROR:
.PHONY: demo test matrix bench bench-save bench-compare fuzz sanitize lint format wheel clean help

help:
	@echo "make demo    compare exact kernels with features on real data: table and plot"
	@echo "make test    run the test-suite          (PYTEST_ARGS='-k dispatch' to choose)"
	@echo "make matrix  the test-suite of the last commit on all Pythons, packages and compilers (hours)"
	@echo "make bench   run the benchmarks"
	@echo "make bench-save   the same, and keep the figures in bench/results"
	@echo "make bench-compare BASE=REV   every job by two revisions in turns (HEAD=REV COMPARE='-k wht')"
	@echo "make fuzz    random calls against plain references  (CASES=20000 SEED=0 JOBS=cores)"
	@echo "make sanitize  the core's tests in builds with sanitizers (GCC): addresses, races"
	@echo "make lint    ruff, mypy, import-linter, clang-format    (make format repairs what can be)"
	@echo "make wheel   sdist and wheel of the last commit, in dist/"
	@echo "make clean   remove .venv, build, dist and caches"

demo: $(DONE)/plot
	$(BIN)/nkfast demo

test: $(DONE)/plot,test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest $(IN_PARALLEL) $(PYTEST_ARGS)

matrix: $(DONE)/venv
	PYTEST_ARGS="$(PYTEST_ARGS)" $(BIN)/python tools/matrix.py $(CELLS)

bench: $(DONE)/plot,bench $(DONE)/neural_tangents
	$(BIN)/python -m pytest bench --benchmark-columns=min,median,iqr,rounds $(PYTEST_ARGS)

# Figures of a release: bench/results/VERSION-COMMIT.json, which docs/make_benchmarks.py draws.
bench-save: $(DONE)/plot,bench $(DONE)/neural_tangents
	@mkdir -p build
	$(BIN)/python -m pytest bench --benchmark-columns=min,median,iqr,rounds \
	  --benchmark-json=build/bench.json $(PYTEST_ARGS)
	$(BIN)/python bench/keep.py build/bench.json bench/results

bench-compare: $(DONE)/venv
	@$(if $(BASE),,$(error make bench-compare BASE=REVISION [HEAD=REVISION] [COMPARE='-k wht']))
	$(BIN)/python tools/bench_compare.py $(BASE) $(HEAD) $(COMPARE)

fuzz: $(DONE)/plot,test
	cd tests && OPENBLAS_NUM_THREADS=1 ../$(BIN)/python -m fuzzing \
	  --cases $(CASES) --seed $(SEED) --jobs $(JOBS)

sanitize: $(DONE)/sanitized-address $(DONE)/sanitized-thread
	$(BIN)/python tools/sanitize.py \
	  $(VENV)/sanitized-address/bin/python $(VENV)/sanitized-thread/bin/python

lint: $(DONE)/plot,test,lint
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy
	cd src && ../$(BIN)/lint-imports --no-cache --no-logo ../pyproject.toml
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

format: $(DONE)/plot,test,lint
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)
	$(BIN)/clang-format -i $(CXX_FILES)

wheel: $(DONE)/venv
	@echo "==> Building sdist and wheel"
	@$(PIP) install build
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests tools $(wildcard bench examples) -name __pycache__ -type d -prune -exec rm -rf {} +

$(DONE)/venv:
	@$(PYTHON) tools/check_machine.py
	@echo "==> Creating $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(DONE)
	@touch $@

$(DONE)/neural_tangents: $(DONE)/venv bench/rivals/neural_tangents.txt
	@echo "==> Installing neural-tangents, a rival, into an environment of its own"
	@$(PYTHON) -m venv --clear $(VENV)/neural_tangents
	@$(VENV)/neural_tangents/bin/python -m pip --disable-pip-version-check --quiet \
	  install -r bench/rivals/neural_tangents.txt
	@touch $@

# The build folder is emptied first: Meson would remember paths into pip's former build environment.
$(DONE)/wheel: $(DONE)/venv $(SOURCES)
	@echo "==> Building nkfast (half a minute or so)"
	@rm -rf $(BUILD) $(VENV)/wheel
	@$(PIP) wheel --no-deps --wheel-dir $(VENV)/wheel \
	  --config-settings=build-dir=$(BUILD) --config-settings=setup-args=-Dwerror=$(WERROR) .
	@touch $@

# nkfast built with a sanitizer, in an environment of its own. Races do not depend on SIMD levels.
# Two checks of undefined behaviour, of every load and store, are left out: those of addresses see
# as much, and the compiler would need minutes more. -g1 knows lines, which is what reports need.
SANITIZE_address := -Db_sanitize=address,undefined
SANITIZE_thread := -Db_sanitize=thread -Dsimd_levels=
SANITIZE_CXXFLAGS := -g1 -fno-sanitize=null,object-size
SANITIZED := -Dbuildtype=custom -Doptimization=1 -Ddebug=false -Db_ndebug=false -Db_lundef=false
$(DONE)/sanitized-%: $(DONE)/venv $(SOURCES)
	@echo "==> Building nkfast with sanitizers: $* (some minutes)"
	@rm -rf build/sanitized-$* $(VENV)/sanitized-$*
	@$(PYTHON) -m venv $(VENV)/sanitized-$*
	@CXXFLAGS="$(SANITIZE_CXXFLAGS)" $(PIP) wheel --no-deps --wheel-dir $(VENV)/sanitized-$* \
	  --config-settings=build-dir=build/sanitized-$* \
	  $(foreach how,$(SANITIZED) $(SANITIZE_$*),--config-settings=setup-args=$(how)) .
	@$(VENV)/sanitized-$*/bin/python -m pip --disable-pip-version-check --quiet \
	  install "$$(echo $(VENV)/sanitized-$*/*.whl)[test]"
	@touch $@

# $(DONE)/a,b: nkfast installed with its extras a and b. pip replaces an equal version only if forced.
$(DONE)/%: $(DONE)/wheel
	@echo "==> Installing nkfast[$*] into $(VENV)"
	@$(PIP) install --force-reinstall --no-deps $(VENV)/wheel/*.whl
	@$(PIP) install "$$(echo $(VENV)/wheel/*.whl)[$*]"
	@touch $@
