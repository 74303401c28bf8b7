# Every target sets up what it needs. PROFILE is smoke, cpu, gpu, or a YAML file that starts from one of them.
PROFILE ?= smoke
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
SUPPORTED := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
FIND = for each in python3.13 python3.12 python3.11 python3; do $$each -c "$(SUPPORTED)" && echo $$each && break; done
PYTHON ?= $(shell ($(FIND)) 2> /dev/null)
CARRIED := pytorch-pretrained-biggan safetensors filelock timm pyyaml pydantic pydantic-core annotated-types \
	typing-inspection typing-extensions
SHORT := params cli notebook execute report results store classifier figures
# What is run is this checkout, also after it was moved.
export PYTHONPATH := $(CURDIR)

.PHONY: FORCE help setup report render promote test short acceptance soak large bench gpu-carry gpu-check lint lab recipe \
	weights scenes clean

help:  ## show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(READY)  ## make the environment in .venv

$(READY): pyproject.toml requirements.lock $(if $(shell $(RUN) -c "print(1)" 2> /dev/null),,FORCE)
	@"$(PYTHON)" -c "$(SUPPORTED)" 2> /dev/null || { echo "'$(PYTHON)' is no Python 3.11, 3.12 or 3.13 with venv; install one, such\
	 as the packages python3 and python3-venv of Debian and Ubuntu, or name it: make setup PYTHON=..."; exit 1; }
	@$(RUN) -c "$(SUPPORTED)" 2> /dev/null || "$(PYTHON)" -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

report: $(READY)  ## run the notebooks of PROFILE and write build/PROFILE/report.md and report.html; resumes
	$(RUN) -m reprolib report "$(PROFILE)"

render: $(READY)  ## write report.md again from results/ and figures/
	$(RUN) -m reprolib render .

promote: $(READY)  ## make the finished run of PROFILE the committed report
	$(RUN) -m reprolib promote "$(PROFILE)"

test: $(READY)  ## style, types, unit tests, and the committed notebooks against their stored outputs
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

short: $(READY)  ## what may differ between versions of Python: minutes of tests, and report.md byte for byte
	$(RUN) -m pytest -n 2 --dist loadfile -m "not slow" $(SHORT:%=tests/test_%.py)
	$(RUN) -m reprolib render .
	git diff --exit-code -- report.md

acceptance: $(READY)  ## train on the authors' counterfactuals and compare with the published accuracies; an hour
	$(RUN) -m pytest -m acceptance -rP tests/test_acceptance.py

soak: $(READY)  ## kill runs at every write and at 50 random moments, then 50 kernels, workers and runners; compare bits; an hour
	REPROLIB_KILLS=50 $(RUN) -m pytest tests/test_kills.py tests/test_hostile_machine.py

large: $(READY)  ## the paper's networks with random weights at 256 pixels; 8 GB, minutes
	$(RUN) -m pytest -m large -rP tests/test_full_size.py

bench: $(READY)  ## time every step against the straightforward way; results/bench and README; half an hour, idle machine
	$(RUN) -m benchmarks

gpu-check:  ## does all run on this machine's GPU, with the same numbers, how fast; 7 minutes; needs little beside PyTorch
	$(firstword $(wildcard $(RUN)) python3) -m benchmarks gpu

gpu-carry: $(READY)  ## all that gpu-check needs beside PyTorch on a machine without a network: build/gpu-carry.tar.gz
	$(RUN) -m benchmarks.carry
	$(RUN) -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
		--implementation cp --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
		-d build/gpu-carry/wheels -c requirements.lock $(CARRIED)
	tar --exclude=__pycache__ -czf build/gpu-carry.tar.gz Makefile benchmarks params reprolib build/gpu-carry

lint: $(READY)  ## style and types only
	$(RUN) -m ruff check .
	$(RUN) -m mypy

lab: $(READY)  ## open JupyterLab on the notebooks
	$(RUN) -m jupyterlab notebooks

recipe: $(READY)  ## train CGNs by each recipe and without each ingredient; results/recipe.csv; hours, resumes
	$(RUN) -m reprolib recipe cpu

weights: $(READY)  ## train the MNIST CGNs and readers in reprolib/weights; an hour
	$(RUN) -m reprolib weights params/weights.yaml
	$(RUN) -m reprolib weights params/weights-procedural.yaml

scenes: $(READY)  ## train the networks of Scenes in reprolib/weights; an hour
	$(RUN) -m reprolib scenes

clean:  ## remove the runs, not the environment
	rm -rf build report.html
