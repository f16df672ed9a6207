# Two commands matter: `make demo` and `make test`. Both make what they need themselves.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Two spinning OpenMP threads on two busy cores cost more than they give.
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test check bench bench-hooks bench-experiments calibration docs subjects clean

demo: $(READY)
	@$(BIN)/mechscope demo --subject splatoon --workspace demo

test: $(READY) check
	$(BIN)/python -m pytest -n 2 --durations=10

check: $(READY)
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/collection.py
	$(BIN)/python benchmarks/training.py --threads 1
	$(BIN)/python benchmarks/store.py

# Beside TransformerLens, nnsight and pyvene, each in an environment of its own; about a quarter of an hour.
bench-hooks: $(READY)
	$(BIN)/python benchmarks/hooks/run.py

# Sweeps against their bare forward passes, half a million non-zeros, batches; about ten minutes.
bench-experiments: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/experiments/run.py

# How often each kind of experiment claims something of noise: 200 null features each; half an hour.
calibration: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/calibration.py

docs: $(READY)
	$(BIN)/python -m mechscope.cli.reference > docs/cli.md
	$(BIN)/python -m mechscope.testing.families_table > docs/models.md

subjects: $(READY)
	$(BIN)/mechscope subjects train splatoon --output build/subjects/splatoon
	$(BIN)/mechscope subjects train agreement --output build/subjects/agreement
	$(BIN)/mechscope subjects train pydocs --output build/subjects/pydocs

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mechscope needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $(READY)

clean:
	rm -rf $(VENV) build demo .mypy_cache .pytest_cache .ruff_cache
