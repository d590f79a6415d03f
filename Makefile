# make demo    set-up, synthetic data, training, evaluation, images: 10 to 15 minutes on 2 cores,
#              after the first set-up (under a minute and its downloads; no compiler)
# make test    set-up and the test suite; ARGS="-k seln", JOBS=0 (one process)
# make slow    the longest tests, which `make test` leaves out
# make quick   unit tests alone, under a minute: no process is started, nothing is trained
# make realdata   the tests on real images: SELNEXT_MM_COCO=DIR SELNEXT_MM_CIFAR10=ARCHIVE_OR_DIR
# make setup   only the environment (.venv); MMCV_OPS=cpu|cuda compiles mmcv, TORCH_INDEX_URL, ...:
#              dev/bootstrap.py
# make docs    the pages as a site, in site/, and a run of the commands that they show and of the notebook
# make lint, make format, make wheel, make clean

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= auto
# Tests start hundreds of processes, each of which would compile again what was not to be written.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest

# Rooms whose tests start no process and train nothing; not the two longest files, of random cases.
QUICK := $(addprefix tests/,analysis/papers checkpoints cli/test_parser.py config datasets/check \
	evaluation models/attention repo/test_imports.py repo/test_rooms.py test_config_files.py \
	test_disk.py test_text.py visualization) \
	$(addprefix --ignore tests/,checkpoints/keymaps/test_properties.py \
	models/attention/test_properties.py) --deselect \
	tests/repo/test_imports.py::test_the_package_imports_without_mmcv_mmdet_and_mmpretrain

# The files with such tests: collecting all the others takes half a minute.
marked = $(shell grep -rl --include='test_*.py' 'mark.$(1)' tests)

# $(1): an expression of marks.
run = $(PYTEST) -n $(JOBS) --maxprocesses 4 --dist worksteal -m $(1)

.PHONY: setup demo test slow quick realdata docs lint format wheel clean

setup:
	@$(PYTHON) dev/bootstrap.py $(if $(filter command environment,$(origin PYTHON)),--this-python)

demo: setup
	@$(BIN)/selnext-mm demo

test: setup
	$(call run,'not documentation and not realdata and not slow') \
		--durations=20 --durations-min=5 $(ARGS)

slow: setup
	$(call run,'slow and not documentation and not realdata') $(call marked,slow) $(ARGS)

quick: setup
	$(PYTEST) -p tests.no_processes -n $(JOBS) --maxprocesses 2 -m 'not integration and not realdata' \
		$(QUICK) $(ARGS)

realdata: setup
	$(call run,realdata) $(call marked,realdata) $(ARGS)

docs: setup
	@$(BIN)/python -c 'import material' 2>/dev/null || \
		$(BIN)/python -m pip install -q -c requirements/lock.txt -r requirements/docs.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(PYTEST) -n $(JOBS) --maxprocesses 4 -m documentation $(call marked,documentation)

lint: setup
	$(BIN)/ruff check .
	@# A preview rule: without an encoding, Windows reads and writes text in that of its region.
	$(BIN)/ruff check --preview --select PLW1514 selnext_mm tools dev benchmarks
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: setup
	$(BIN)/python -m pip wheel --no-deps --no-build-isolation -w dist .

clean:
	rm -rf .venv build dist site *.egg-info selnext_mm/.mim
