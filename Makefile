# Everything runs in .venv, which the first target that needs it makes; nothing of your own environment is used.
#   make PYTHON=python3.12 …                                another interpreter to make .venv with
#   make install CONSTRAINTS=constraints/gpu.txt            a GPU machine: torch is not pinned (see that file)
PYTHON      ?= python3
CONSTRAINTS ?= constraints/cpu.txt
JOBS        ?= 2
SWEEP       ?= conf/sweep/ag.yaml
RUNS        ?= runs

BIN   := .venv/bin
STAMP := .venv/.installed

unexport PYTHONPATH
unexport PYTHONHOME
unexport VIRTUAL_ENV
export PYTHONNOUSERSITE := 1

.DEFAULT_GOAL := help
.PHONY: help install demo toys test check format bench sweep report clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## make .venv and install dtag with its development tools into it

# Written last, so a failed install leaves none and the next make tries again.
$(STAMP): pyproject.toml $(wildcard constraints/*.txt)
	@rm -f $(STAMP)
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("dtag needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.11 ..." % v[:2])'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes and about 1.5 GB the first time)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## train, refine, score and plot on a toy task; no download
	@$(BIN)/dtag demo

toys: $(STAMP) ## the papers' one-state experiments, with figures, in minutes; no download
	@$(BIN)/dtag toys --jobs $(JOBS)

test: $(STAMP) ## run every test that needs no GPU (JOBS=2 processes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "not gpu and not multi_gpu" $(ARGS)

check: $(STAMP) ## lint and format (ruff), types (mypy)
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check --quiet . || { echo "run make format"; exit 1; }
	@$(BIN)/python -m mypy

format: $(STAMP) ## format and fix what ruff can
	@$(BIN)/python -m ruff check --fix --exit-zero --quiet .
	@$(BIN)/python -m ruff format .

bench: $(STAMP) ## run every benchmark in tests/bench
	@set -e; for file in tests/bench/bench_*.py; do \
	  test -f "$$file" || { echo "no benchmark in tests/bench"; exit 1; }; \
	  echo "== $$file"; $(BIN)/python "$$file"; done

sweep: $(STAMP) ## run the plan SWEEP=conf/sweep/ag.yaml, on CKPT=… where it needs one
	@$(BIN)/dtag sweep --config "$(SWEEP)" $(if $(CKPT),--ckpt "$(CKPT)",)

report: $(STAMP) ## tables, figures and a page from the runs below RUNS=runs
	@$(BIN)/dtag report $(RUNS)

clean: ## remove .venv, build output and caches; runs/ stays
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache MUJOCO_LOG.TXT
	@find dtag tests -type d -name __pycache__ -prune -exec rm -rf {} +
