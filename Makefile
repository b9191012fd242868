# The two commands of the README: make demo, make test. Both install into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := mgc/locks/full.txt
# uv's wheel is kept here, so that a second install needs no network.
UV_WHEELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mgc

.PHONY: demo test install lock clean

demo: install
	$(BIN)/mgc data synth data/synthetic --tracks-per-genre 40 --seconds 10
	$(BIN)/mgc fit --config configs/quickstart.yaml
	$(BIN)/mgc test --ckpt_path best

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto

install: $(VENV)/installed

# Installs the locked versions. uv tries its cache first and the network only if that is not enough.
# Compiling takes half a minute and saves every command half of its start where Python writes no
# bytecode (PYTHONDONTWRITEBYTECODE=1).
$(VENV)/installed: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	awk '/^[a-z0-9]/ { uv = /^uv==/ } uv' $(LOCK) > $(VENV)/uv.txt
	$(BIN)/pip install --quiet --no-index --find-links $(UV_WHEELS) --require-hashes -r $(VENV)/uv.txt 2>/dev/null \
	  || { $(BIN)/pip download --quiet --no-deps --require-hashes -d $(UV_WHEELS) -r $(VENV)/uv.txt \
	       && $(BIN)/pip install --quiet --no-index --find-links $(UV_WHEELS) --require-hashes -r $(VENV)/uv.txt; }
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode --offline --quiet $(LOCK) 2>/dev/null \
	  || $(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode $(LOCK)
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --offline --quiet --editable .
	$(BIN)/python -m compileall -q mgc
	touch $@

# Renews every version of the lock within pyproject.toml's bounds and prints those that moved.
lock: install
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-annotate --no-header --upgrade --quiet --output-file $(LOCK)
	$(BIN)/uv pip compile --group serve --constraints $(LOCK) --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-annotate --no-header --upgrade --quiet --output-file mgc/locks/serve.txt
	@git diff --unified=0 $(LOCK) | sed -n -E 's/ *\\?$$//; s/^([-+])([a-z0-9].*)/\1 \2/p' | grep . || echo "No version moved."

# The tests with the oldest and with the newest versions that pyproject.toml allows.
.PHONY: test-lowest test-newest
test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest: test-%: install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-$*
	$(BIN)/uv pip install --python $(VENV)-$*/bin/python --requirements pyproject.toml --all-extras \
	  --upgrade --resolution $(RESOLUTION) --compile-bytecode
	$(BIN)/uv pip install --python $(VENV)-$*/bin/python --no-deps --no-build-isolation --quiet --editable .
	$(VENV)-$*/bin/pytest -n auto

clean:
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-newest data/synthetic

.PHONY: dist test-wheel

# Builds the source distribution, and from it the wheel.
dist: install
	rm -rf dist mgc_lightning.egg-info
	$(BIN)/uv build --quiet --offline --no-build-isolation --python $(BIN)/python --out-dir dist

# Installs the wheel and the locked versions in a new environment, and runs every command from an
# empty folder.
test-wheel: dist
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && python="$$folder/bin/python" \
	  && $(BIN)/uv venv --quiet --clear --python $(BIN)/python "$$folder" \
	  && { $(BIN)/uv pip sync --python "$$python" --require-hashes --compile-bytecode --offline --quiet $(LOCK) 2>/dev/null \
	       || $(BIN)/uv pip sync --python "$$python" --require-hashes --compile-bytecode --quiet $(LOCK); } \
	  && $(BIN)/uv pip install --python "$$python" --no-deps --compile-bytecode --offline --quiet dist/*.whl \
	  && MGC_COMMAND="$$folder/bin/mgc" $(BIN)/pytest tests/test_wheel.py
