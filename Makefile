# make demo    set up, then label the sample clips and say where the report is
# make test    set up, then every check and every test
# make check   set up, then only the quick checks: lint, format, types
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
OUT ?= demo-out

.PHONY: demo test check clean

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("emo needs Python 3.11 or later, this is " + sys.version.split()[0] + "; set PYTHON=...") if sys.version_info < (3, 11) else None'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

demo: $(INSTALLED)
	$(VENV)/bin/emo label samples/manifest.csv --out $(OUT)

check: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: check
	$(VENV)/bin/python -m pytest

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info
