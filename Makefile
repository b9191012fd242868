# Main targets: make demo, make test. Both install into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := mgc/locks/full.txt
# Cache of uv's wheel, so that a second installation needs no network.
UV_WHEELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mgc

.PHONY: demo test test-faults install lock clean

demo: install
	$(BIN)/mgc data synth data/synthetic --tracks-per-genre 40 --seconds 10
	$(BIN)/mgc fit --config configs/quickstart.yaml
	$(BIN)/mgc test --ckpt_path best

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto

# Kill commands, fill disks, break inputs and so on; writes the table command x fault to faults.md.
# The disk tests need root. MGC_FAULTS_SCALE=0.3 runs fewer tries.
test-faults: install
	MGC_FAULTS_REPORT=faults.md $(BIN)/pytest tests/faults -m "" -n auto --dist loadgroup

install: $(VENV)/installed

# Install the locked versions. uv tries its cache first, then the network. Compiling takes half a
# minute; with PYTHONDONTWRITEBYTECODE=1 it halves the start time of every command.
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

# Update all versions of the lock within the bounds of pyproject.toml and print the changes.
lock: install
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-annotate --no-header --upgrade --quiet --output-file $(LOCK)
	$(BIN)/uv pip compile --group serve --constraints $(LOCK) --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-annotate --no-header --upgrade --quiet --output-file mgc/locks/serve.txt
	@git diff --unified=0 $(LOCK) | sed -n -E 's/ *\\?$$//; s/^([-+])([a-z0-9].*)/\1 \2/p' | grep . || echo "No version changed."

# Run the tests with the oldest or newest versions that pyproject.toml allows.
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

# Build the source distribution, then the wheel from it.
dist: install
	rm -rf dist mgc_lightning.egg-info
	$(BIN)/uv build --quiet --offline --no-build-isolation --python $(BIN)/python --out-dir dist

# Install the wheel and the locked versions in a new environment and run every command in an empty
# folder.
test-wheel: dist
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && python="$$folder/bin/python" \
	  && $(BIN)/uv venv --quiet --clear --python $(BIN)/python "$$folder" \
	  && { $(BIN)/uv pip sync --python "$$python" --require-hashes --compile-bytecode --offline --quiet $(LOCK) 2>/dev/null \
	       || $(BIN)/uv pip sync --python "$$python" --require-hashes --compile-bytecode --quiet $(LOCK); } \
	  && $(BIN)/uv pip install --python "$$python" --no-deps --compile-bytecode --offline --quiet dist/*.whl \
	  && MGC_COMMAND="$$folder/bin/mgc" $(BIN)/pytest tests/test_wheel.py
