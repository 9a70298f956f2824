# `make demo` shows it, `make test` proves it. Each makes the virtual environment it needs by itself.

BIN := .venv/bin
BENCH := all --against stock
CHAOS := --seeds 1-20
FUZZ_API := --max-examples 200
MUTANTS :=
SIMULATE := --seeds 200

# The tests start hundreds of processes; each would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types docs docs-serve bench simulate remedies chaos fuzz-api mutants compiled interpreted \
	test-compiled format lock clean

demo: .venv/ready
	$(BIN)/raftbook demo

# Three at a time on two cores: some wait more than they compute. Those with node processes come by themselves.
test: .venv/ready
	$(BIN)/python -m pytest -m "not system" --numprocesses 3
	$(BIN)/python -m pytest -m system --numprocesses 3 --dist loadgroup

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

# Into site/, which needs no server and no network: open site/index.html.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# While you write it: http://127.0.0.1:8000, made anew whenever a page changes.
docs-serve: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

# BENCH="cluster --seconds 30" measures something else than all of it.
bench: .venv/ready
	$(BIN)/raftbook bench $(BENCH)

# SIMULATE="--seed 7 --story" tells one life, message by message.
simulate: .venv/ready
	$(BIN)/raftbook simulate $(SIMULATE)

# Which seed shows what each remedy prevents: takes some minutes.
remedies: .venv/ready
	$(BIN)/raftbook simulate --remedies --write raftbook/simulation/DESIGN.md

# CHAOS="--seeds 7 --nodes 5 --story" lives one seed through again, and tells its story.
chaos: .venv/ready
	$(BIN)/python -m tests.system.chaos $(CHAOS)

# A real node, and all that its OpenAPI document allows or forbids. FUZZ_API="--seed 7 --max-examples 20" repeats a run.
fuzz-api: .venv/ready
	$(BIN)/python -m tests.fuzzing $(FUZZ_API)

# The engine with one small fault at a time, thousands of times, in the folder mutants/: which does no test notice? Takes
# an hour on two cores, and goes on where it was stopped. MUTANTS="raftbook.engine.auction.*" tries those of one file;
# `.venv/bin/mutmut show NAME` shows one.
mutants: .venv/ready interpreted
	$(BIN)/mutmut run --max-children 2 $(MUTANTS)
	$(BIN)/mutmut results

# The engine through mypyc, which takes a minute or two and a C compiler. From then on this checkout runs what was
# compiled, whatever its sources say, until `make compiled` compiles them anew or `make interpreted` goes back to them.
compiled: .venv/ready interpreted
	$(BIN)/python hatch_build.py

interpreted:
	rm -rf build
	rm -f *.so raftbook/*.so raftbook/*/*.so

# All that holds the engine, its log format, an order's way in and out, and what is folded from the engine's events,
# against the compiled modules.
test-compiled: compiled
	$(BIN)/python -m pytest --numprocesses 2 tests/engine tests/market_data tests/offline tests/simulation \
		tests/intake tests/gateway/test_stream_requests.py tests/node/test_client_frames.py tests/node/test_publisher.py \
		tests/test_codec.py tests/test_compiled.py tests/test_hot_commands.py tests/test_hot_forms.py \
		tests/test_report_text.py tests/test_state_machine.py

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Keeps the locked versions that still fit; `make lock UPGRADE=--upgrade` renews them.
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-config --quiet \
	--custom-compile-command "make lock" $(UPGRADE)
lock: .venv/ready
	$(LOCK) --output-file requirements-installer.lock --group installer
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) pyproject.toml --output-file requirements-dev.lock --group dev --extra bench --constraint requirements.lock

clean: interpreted
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist mutants site

# Made anew from nothing whenever what it holds has changed. uv takes a tenth of pip's time; where it cannot reach a
# package index that pip is configured for, pip does it.
.venv/ready: requirements-dev.lock requirements-installer.lock pyproject.toml
	@for python in python3.13 python3.12 python3.11 python3; do \
		$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		exec $$python -m venv --clear .venv; \
	done; \
	echo 'raftbook needs Python 3.11 or newer with its venv module (on Debian: apt-get install python3-venv).' >&2; exit 1
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-installer.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement requirements-dev.lock \
		|| $(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
