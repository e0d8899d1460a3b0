# make demo    install into .venv as a user would, then code real photographs
# make test    install into .venv-dev with the test tools, torch and triton, then run the whole suite
# make lint    ruff and mypy
# make bench   PHOTOS=folder: compare with other formats, and write table and plot to benchmarks/
# make clean   remove what make made

PYTHON ?= python3
# A folder of photographs for the demo, in place of those that scikit-image brings, or for the benchmark.
PHOTOS ?=
# More arguments for pytest: make test PYTEST_ARGS="-x -k container"
PYTEST_ARGS ?=
# More arguments for the benchmark: make bench PHOTOS=folder BENCH_ARGS="--threads 2"
BENCH_ARGS ?=
# The version the tests are run with. On Linux this may fetch a large CUDA build; for the CPU build:
#   make test TORCH="torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu"
TORCH ?= torch==2.13.0

PIP_INSTALL = -m pip install --quiet --disable-pip-version-check
CHECK_PYTHON = import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12")

SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE \
	$(shell find llicti_core llicti_plugin -type f ! -name '*.py[co]' ! -name '.*')

.PHONY: help demo test lint bench clean
help:
	@sed -n '1,/^$$/s/^# //p' Makefile

demo: .venv/.installed
	.venv/bin/python examples/demo.py $(if $(PHOTOS),"$(PHOTOS)")

test: .venv-dev/.installed
	.venv-dev/bin/pytest $(PYTEST_ARGS)

lint: .venv-dev/.installed
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy

bench: .venv-bench/.installed
	@test -n "$(PHOTOS)" || { echo "name a folder of photographs: make bench PHOTOS=folder"; exit 2; }
	.venv-bench/bin/llc bench "$(PHOTOS)" --output benchmarks $(BENCH_ARGS)

clean:
	rm -rf .venv .venv-dev .venv-bench demo-output dist .mypy_cache .pytest_cache .ruff_cache

# The environment of a user: the package and nothing more, but for scikit-image's photographs.
.venv/.installed: $(SOURCES)
	@$(PYTHON) -c '$(CHECK_PYTHON)'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) . scikit-image
	@touch $@

# The environment of a developer. The tests run against the installed package, as a user gets it.
.venv-dev/.installed: $(SOURCES)
	@$(PYTHON) -c '$(CHECK_PYTHON)'
	test -x .venv-dev/bin/python || $(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python $(PIP_INSTALL) '.[cuda,dev,test,train]' $(TORCH)
	@touch $@

# The environment of the benchmark: a user's, with the other formats and without a deep-learning framework,
# since what is installed has a part in how fast Python starts.
.venv-bench/.installed: $(SOURCES)
	@$(PYTHON) -c '$(CHECK_PYTHON)'
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python $(PIP_INSTALL) '.[bench]'
	@touch $@
