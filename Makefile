# Two commands: `make demo` shows a federation, `make check` runs every check. Each makes .venv first.

PYTHON      ?= python3.11
VENV        ?= .venv
# What to install as PyTorch, and from where. Elsewhere than on CPU-only mirrors pip resolves this to a CUDA
# build of several gigabytes; for the CPU build (200 MB) set
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_SPEC  ?= torch==2.13.0
TORCH_INDEX ?=
DEMO_OUT    ?= runs/demo

BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check -q
PYTEST  := $(BIN)/python -m pytest -n 2
UNIT    := --dist worksteal tests/unit tests/property
# By file: hospitals and servers are made once for the tests that share them.
WHOLE   := --dist loadfile --durations 15 --ignore tests/unit --ignore tests/property tests

# The tests start many processes: compiled once, our modules need not be compiled by each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo check check-all lint types contract unit tests reliability format proto clean

demo: $(VENV)/.runtime
	$(BIN)/consilium simulate examples/phantom.toml --baselines --overwrite --out $(DEMO_OUT)

check: lint types contract unit tests

check-all: export HYPOTHESIS_PROFILE = thorough
check-all: lint types contract
	$(PYTEST) $(UNIT)
	$(PYTEST) $(WHOLE)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

contract: $(VENV)/.dev
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(PYTEST) -m "not slow" $(UNIT)

tests: $(VENV)/.dev
	$(PYTEST) -m "not slow" $(WHOLE)

# All faults, slow ones too; the table of what became of each is written into the page.
reliability: $(VENV)/.dev
	$(PYTEST) --dist loadfile --reliability docs/reliability.md tests/faults tests/integration/test_desk.py \
	  tests/integration/rounds/test_interrupted_tasks.py tests/integration/site_link/test_sessions.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/.dev
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. common/link/link.proto

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install "$(TORCH_SPEC)" $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	touch $@

$(VENV)/.runtime: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) install -c constraints.txt -e ".[dev,ray]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
