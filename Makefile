SHARDS ?= shards
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SIDE_BY_SIDE := -n auto --maxprocesses 8 --dist worksteal

# As they were given, and to the shell as variables: a folder may be called anything, `$` and `'` too.
override DATASET := $(value DATASET)
override SOURCE := $(value SOURCE)
override SHARDS := $(value SHARDS)
export DATASET SOURCE SHARDS

.PHONY: help setup demo test test-slow test-gpu test-hf rehearse drills check shards bench bench-gpu built-in evidence clean

help:  ## list the targets (default)
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## [PYTHON=...] [SYSTEM=no]: make .venv; root also installs system packages that are missing

$(READY): pyproject.toml constraints.txt
	@sh setup.sh

demo: $(READY)  ## build the synthetic data set, train on it, evaluate, report; 5 to 10 minutes
	$(BIN)/ascnet build shapes --out "$(SHARDS)"
	$(BIN)/ascnet train "$(SHARDS)/shapes" --recipe demo
	$(BIN)/ascnet evaluate --task retrieval
	$(BIN)/ascnet evaluate --task linear
	$(BIN)/ascnet evaluate --task linear --factor tempo
	$(BIN)/ascnet report

shards: $(READY)  ## DATASET=... [SOURCE=...] [SHARDS=shards] [ARGS=...]: build a data set's shards
	@test -n "$$DATASET" || { echo "Say which: make shards DATASET=ucf101 (or hmdb51, kinetics400, shapes, folder, csv)"; exit 2; }
	$(BIN)/ascnet build "$$DATASET" --out "$$SHARDS" $${SOURCE:+--source "$$SOURCE"} $(ARGS)

test: $(READY)  ## run the tests
	$(BIN)/pytest $(SIDE_BY_SIDE)

test-slow: $(READY)  ## run the tests that take longer: a thousand damaged files, the tour, fp16 on a CPU
	$(BIN)/pytest -m slow $(SIDE_BY_SIDE)

test-gpu: $(READY)  ## run the tests that need a GPU: results, synchronisation, settings
	ASCNET_REQUIRE_GPU=1 $(BIN)/pytest tests/gpu

test-hf: $(READY)  ## install transformers (180 MB), and compare models of Hugging Face with it
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[hf]'
	$(BIN)/pytest tests/evaluate/hugging_face tests/ascnet/test_encoders.py

rehearse: $(READY)  ## [ARGS=...]: run every path that touches a device on a simulated GPU
	$(BIN)/python -m tests.gpu.rehearse $(ARGS)

drills: $(READY)  ## [ARGS=...]: kill every long command, fill its disk, cut its network, damage its files; more as root
	$(BIN)/python -m tests.drills.run_all --out docs/reliability.md $(ARGS)

check: $(READY)  ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest $(SIDE_BY_SIDE)

reference: $(READY)  ## write docs/reference.md from the options and settings in the code
	$(BIN)/python docs/reference.py

bench: $(READY)  ## [CLIPS=folder]: loading, a step, streaming, building and retrieval beside the usual ways
	$(BIN)/python -m benchmarks.run_all $(PARTS)

bench-gpu: $(READY)  ## [SHARDS=shards] [ARGS=...]: training steps on a GPU by backbone and precision
	$(BIN)/python -m benchmarks.gpu --shards "$$SHARDS" $(ARGS)

built-in: $(READY)  ## train the network that comes with ascnet again; 30 to 40 minutes on two cores
	$(BIN)/ascnet build shapes --out shards
	$(BIN)/ascnet train shards/shapes --recipe built-in --run runs/built-in --resume
	$(BIN)/ascnet export runs/built-in --to safetensors --half --overwrite --out ascnet/assets/built-in.safetensors

evidence: $(READY)  ## measure what each objective teaches; hours, resumes where it was stopped
	$(BIN)/ascnet build shapes --out shards
	$(BIN)/python -m experiments.evidence $(ARGS)

clean:  ## remove .venv and caches; data, shards and runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
