# The virtual environment; `make test VENV=somewhere/else` uses another.
VENV ?= .venv
PYTHON ?= python3
BIN := $(abspath $(VENV))/bin
DEMO_JOBS ?= 2
TEST_PROCESSES ?= 2

.PHONY: demo test bench faults kills hostile format clean

## demo: install, then the main job on scikit-learn's digits: curves and table of five methods
demo: $(VENV)/installed
	cd mnist && $(BIN)/python run.py --dataset DIGITS --initial --jobs $(DEMO_JOBS)
	cd mnist && $(BIN)/python run.py --dataset DIGITS --jobs $(DEMO_JOBS)
	cd mnist && $(BIN)/python run_plot.py --dataset DIGITS

## test: install, then lint, check the types and run the tests, two files at a time (TEST_PROCESSES)
test: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

## bench: install, then time every stage against plain PyTorch (needs MNIST, about ten minutes)
bench: $(VENV)/installed
	$(BIN)/python benchmarks/bench.py

## faults: install, then break a campaign in every way that it has to survive (about fifteen minutes)
faults: $(VENV)/installed
	$(BIN)/python benchmarks/faults.py

## kills: install, then kill every script at random moments, a thousand times (about twenty minutes)
kills: $(VENV)/installed
	$(BIN)/python benchmarks/kills.py

## hostile: install, then give the scripts ten thousand hostile inputs (some minutes)
hostile: $(VENV)/installed
	$(BIN)/python benchmarks/hostile.py

## format: lay the code out as the tests want it
format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "error: Python 3.10 or newer is needed; name one with: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV) \
		|| { echo "error: no virtual environment could be made; on Debian: apt install python3-venv"; exit 2; }
	$(BIN)/pip install --upgrade pip
	$(BIN)/pip install -e '.[test]'
	touch $@
