# Every target does its own set-up first and does nothing twice.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PEERS  := .venv-peers

.PHONY: setup demo study test test-all test-peers check format bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	touch $(STAMP)

demo: setup            ## the whole path once: experts -> four merges on Ray -> lm-eval -> table
	$(BIN)/mergescale demo

study: setup           ## the smallest family from scratch, and a study of it with its report
	$(BIN)/mergescale family build configs/family/miniature.yaml --size 1M
	$(BIN)/mergescale study run configs/studies/quick.yaml

check: setup           ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup            ## the quick suite
	$(BIN)/pytest -n 2 --dist loadfile -m 'not slow and not peers'

test-all: setup        ## and the slow tests
	$(BIN)/pytest -m 'not peers'

test-peers: setup $(PEERS)/.installed   ## the same YAML through mergekit and through us
	MERGESCALE_PEERS_PYTHON=$(CURDIR)/$(PEERS)/bin/python $(BIN)/pytest -m peers tests/peers

$(PEERS)/.installed: benchmarks/peers.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet torch==2.13.0
	$(PEERS)/bin/python -m pip install --quiet --requirement benchmarks/peers.txt
	touch $@

bench: setup $(PEERS)/.installed        ## a 0.6B x 8 merge beside mergekit, growth, Ray, a slice of 64B
	$(BIN)/python -m benchmarks.merge --peer $(PEERS)/bin/python
	$(BIN)/python -m benchmarks.together
	$(BIN)/python -m benchmarks.scale growth
	$(BIN)/python -m benchmarks.scale ray
	$(BIN)/python -m benchmarks.scale large --slice 50

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
