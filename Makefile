# make train: from a fresh machine to a trained model. make test: from a fresh machine to a green test suite.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
FACES := shards/faces
OBJECTIVES := source_only dann train_on_target
SCRIPTS = $(shell git ls-files '*.sh' '*.sbatch' .ci/run)

.PHONY: setup train test lint bench clean

setup: .venv/.installed

.venv/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.11 setup")'
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --upgrade pip
	@echo "installing the requirements (some GB with the CUDA libraries of torch; a few minutes)"
	python -m pip install --quiet --requirement requirements.txt
	@touch $@

$(FACES)/manifest.json: .venv/.installed
	python -m job shards faces --out $(FACES) --size 48 --keep-target-labels

# Men's faces are labelled, women's are not: nothing adapted, domain-adversarial training, and what labels would have given.
train: $(FACES)/manifest.json
	@set -e; for objective in $(OBJECTIVES); do \
	  launch/local.sh configs/faces.yaml objective.name=$$objective name=faces-$$objective; \
	done
	@echo; echo "Accuracy on the held-out faces of both domains:"
	@python -m job compare $(OBJECTIVES:%=runs/faces-%) --out runs/comparison

test: setup
	python -m pytest

lint: setup
	ruff check .
	ruff format --check .
	shellcheck $(SCRIPTS)

bench: setup
	python -m benchmarks.loader
	python -m benchmarks.resume
	python -m benchmarks.step

clean:
	rm -rf .venv runs shards
