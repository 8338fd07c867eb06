# make train: from a fresh machine to a trained model. make test: from a fresh machine to a green test suite.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
FACES := shards/faces
OBJECTIVES := source_only dann+mcc train_on_target
# Three processes on two cores: many tests wait for processes that they have started.
PYTEST = python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder
SCRIPTS = $(shell git ls-files '*.sh' '*.sbatch' .ci/run slurm/cluster)

.PHONY: setup train test check quick lint bench clean distclean

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

# Men's faces are labelled, women's are not: no adaptation, domain-adversarial training, and training on target labels.
train: $(FACES)/manifest.json
	@set -e; for objective in $(OBJECTIVES); do \
	  launch/local.sh configs/faces.yaml objective.name=$$objective name=faces-$$objective; \
	done
	@echo; echo "Accuracy on the held-out faces of both domains:"
	@python -m job compare $(OBJECTIVES:%=runs/faces-%) --out comparison

# The tests on Slurm run one at a time and take longest, so the others, in parallel, only get the time that they leave.
# The output of the tests on Slurm follows at the end.
test: setup
	@log=$$(mktemp) && { python -m pytest -m slurm tests/slurm >$$log 2>&1 & } && slurm=$$!; \
	trap 'kill $$slurm; exit 130' INT TERM; \
	code=0; nice -n 15 $(PYTEST) -m "not slurm" || code=$$?; \
	wait $$slurm || code=$$?; cat $$log; rm $$log; exit $$code

# Run this before a commit: a few minutes at most. Lint and tests run at the same time; the output of each is kept whole.
check: setup
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint quick

quick: setup
	$(PYTEST) -q -m "not slow and not slurm"

lint: setup
	ruff check .
	ruff format --check .
	shellcheck $(SCRIPTS)
	mypy

# Measure, and print which ratios are worse than the committed ones. BENCH_FLAGS=--fail makes that an error.
bench: setup
	python -m benchmarks.compare $(BENCH_FLAGS)

# Delete files that are quick to make again. Runs, shards and the environment stay.
clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find job tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Also delete files that took hours to make, after a question; without an answer nothing is deleted.
distclean: clean
	@printf 'delete .venv, all runs (runs/) and all shards (shards/)? Type yes: '; \
	read -r answer || answer=; \
	if [ "$$answer" = yes ]; then rm -rf .venv runs shards; else echo "nothing deleted"; exit 1; fi
