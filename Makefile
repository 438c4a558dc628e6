# make demo      set up, then label the sample clips and say where the report is
# make test      set up, then every check and every test
# make quick     set up, then the quick checks and the tests that start no Ray and load no model
# make check     set up, then only the quick checks: lint, format, types
# make pages     set up, then write the pages of docs/ anew that are made from the code
# make samples   set up, then make the sample clips anew (needs ffmpeg and espeak-ng)
# make constraints   write down the versions that are installed: those of the image, and of who sets up after you
# make picture   set up, label the sample clips, then take the README's picture of their report (needs chromium)
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
OUT ?= demo-out
# As a path that Python searches: Ray's workers search the current folder too, and a clone that lies there would
# otherwise pass for the package.
EDITABLE := --config-settings editable_mode=compat -e
# The versions of the image, on the Python that they were written down with; on another one the newest that fit.
CONSTRAINTS := cluster/constraints.txt
# Asked by the shell when a recipe comes to it: before, there is no environment that could answer.
PINS = $$($(VENV)/bin/python -c 'import sys; \
	made = "\n\043 Python %d.%d\n" % sys.version_info[:2] in open("$(CONSTRAINTS)").read(); \
	print("--constraint $(CONSTRAINTS)" if made else "")')

# Without compiled modules each of hundreds of processes would compile emo anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick check pages samples picture constraints clean

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "emo needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing emo into $(VENV) (PyTorch with CUDA included: some gigabytes, a few minutes)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PINS) $(EDITABLE) '.[test]'
	@touch $@

demo: $(INSTALLED)
	$(VENV)/bin/emo label samples/manifest.csv --out $(OUT)

check: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Three processes, a file at a time; which of them takes what is in tests/scheduling.py. What checks the code
# without running it takes the time that they leave.
test: $(INSTALLED)
	nice $(MAKE) --no-print-directory check & checks=$$!; \
	$(VENV)/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder; tests=$$?; \
	wait $$checks && exit $$tests

# What is left out, and how, is in tests/conftest.py.
quick: check
	EMO_TEST_QUICK=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Written aside first: an error leaves the old page.
pages: $(INSTALLED)
	for page in configuration tables families metrics; do \
		$(VENV)/bin/python -m emo.$${page}_page > $(VENV)/page.md && mv $(VENV)/page.md docs/$$page.md || exit 1; done

samples: $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PINS) $(EDITABLE) '.[samples]'
	$(VENV)/bin/python samples/make_samples.py

# After an upgrade or a new dependency in .venv. Written aside first: an error leaves the old file.
constraints:
	$(VENV)/bin/python cluster/constraints.py > $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt $(CONSTRAINTS)
	@test ! -e $(INSTALLED) || touch $(INSTALLED)

picture: demo
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,1000 \
		--screenshot=$(CURDIR)/docs/report.png file://$(abspath $(OUT))/report/index.html

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info
