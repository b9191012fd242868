# The two commands of the README. Both make their own environment in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test install clean

demo: install
	$(BIN)/mgc data synth data/synthetic --tracks-per-genre 40 --seconds 10
	$(BIN)/mgc fit --config configs/quickstart.yaml
	$(BIN)/mgc test --ckpt_path best

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

install: $(VENV)/installed

# uv installs in half a minute what takes pip some minutes.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "uv>=0.5"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) data/synthetic
