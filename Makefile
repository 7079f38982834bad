# Everything happens in a virtual environment of this folder; nothing outside of it is changed.
#
#   make run            the main job: /var/log/mail.log where there is one, a bundled real log otherwise
#   make test           ruff, mypy and the tests
#   make test-debian12  the tests, with the library versions of Debian 12 (compiles one of them:
#                       as root, apt-get install gcc patch python3-dev)
#   make test-system    the tests that start a real Courier, rsyslog and Postfix in namespaces of their
#                       own, journalctl, logrotate and strace, which makes system calls fail (as root
#                       with CAP_SYS_ADMIN; .ci/run installs them)
#   make test-cluster   the tests of grants that several hosts share: MariaDB, a Galera cluster, Redis
#                       with Sentinel, network namespaces (as root; .ci/run installs them)
#   make test-slow      the tests that take minutes and gigabytes: hundreds of kills, large backlogs
#   make deb            the Debian package, in dist/ (its build dependencies: packaging/debian/control)
#   make test-deb       that package installed, upgraded, removed and purged in a clean Debian 12 (as
#                       root; with debootstrap, lintian, systemd-container)
#   make lint           ruff and mypy only
#   make bench          measures replay, lookups and the rest beside grep, Perl, fail2ban, sshguard, redis
#                       and postsrsd (half an hour and 15 GB; ARGS=--quick: two minutes), into build/bench
#   make clean          removes what these commands made
#
# PYTHON names the interpreter (3.11 or later); ARGS is passed on to the demo, pytest or the benchmark.

PYTHON ?= python3
ARGS ?=

VENV := .venv
DEBIAN12 := build/venv-debian-12
BENCH := build/venv-bench
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
REQUIREMENTS := setup.cfg pyproject.toml
SOURCES := pbs_watch tests benchmarks demo setup.py
# Two at once, and one by one those that measure how long something takes or look at a terminal while
# it changes.  What an idle daemon takes is processor time, whoever runs beside it.
IDLE := tests/promise_4_never_waits/test_idle.py
ALONE := $(addprefix tests/,promise_1_sees_every_login promise_4_never_waits commands/test_status_and_top.py)
# Those that take up to a minute each.
LONG := $(addprefix tests/,commands/test_selftest.py $(addprefix promise_3_exactly_once/,\
  test_parallel_replay.py test_rebuild_loses_nothing.py test_compressed_restarts.py))
TOGETHER := $(addprefix tests/,promise_2_nobody_else promise_3_exactly_once commands) $(IDLE) \
  --ignore=tests/commands/test_status_and_top.py $(LONG:%=--ignore=%)
# Those that measure how long a lookup or a login takes.
SYSTEM_ALONE := tests/system/test_faults.py tests/system/test_first_recipient.py

.PHONY: run test test-debian12 test-system test-cluster test-slow deb test-deb lint bench clean

run: $(VENV)/installed-run
	@$(VENV)/bin/python demo/play.py $(ARGS)

test: lint
	$(VENV)/bin/python -m pytest --numprocesses 2 $(TOGETHER) $(ARGS)
	$(VENV)/bin/python -m pytest $(ALONE) --ignore=$(IDLE) $(ARGS)

test-debian12: $(DEBIAN12)/installed
	$(DEBIAN12)/bin/python -m pytest --numprocesses 2 $(TOGETHER) tests/shared $(ARGS)
	$(DEBIAN12)/bin/python -m pytest $(ALONE) --ignore=$(IDLE) $(ARGS)

test-system: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile tests/system \
	  $(SYSTEM_ALONE:%=--ignore=%) $(ARGS)
	$(VENV)/bin/python -m pytest $(SYSTEM_ALONE) $(ARGS)

test-cluster: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile tests/shared $(ARGS)
	$(VENV)/bin/python -m pytest tests/cluster $(ARGS)

test-slow: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest --numprocesses 2 $(LONG) $(ARGS)
	$(VENV)/bin/python -m pytest tests/slow $(ARGS)

deb:
	packaging/build-deb dist

test-deb: deb $(VENV)/installed-test
	$(VENV)/bin/python -m pytest tests/package $(ARGS)

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)
	$(VENV)/bin/mypy --strict

# Installed as operators have it, anew each time, for Debian's Python where there is one: out of the
# tree it starts slower, and a Python that was compiled by hand may be slower by a quarter.
bench: $(BENCH)/installed
	@rm -rf build/lib
	@$(BENCH)/bin/python $(PIP_INSTALL) --no-deps --force-reinstall .
	$(BENCH)/bin/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist run *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find pbs_watch tests benchmarks demo -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/installed-run: $(REQUIREMENTS) | $(VENV)/bin/pip
	@echo "Installing pbs-watch into $(VENV) ..."
	@$(VENV)/bin/python $(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/installed-test: $(REQUIREMENTS) | $(VENV)/bin/pip
	@echo "Installing pbs-watch, the test tools and the linters into $(VENV) ..."
	@$(VENV)/bin/python $(PIP_INSTALL) --editable '.[test,dev]'
	@touch $@ $(VENV)/installed-run

$(BENCH)/installed: $(REQUIREMENTS) | $(BENCH)/bin/pip
	@echo "Installing pbs-watch and what draws the picture into $(BENCH) ..."
	@$(BENCH)/bin/python $(PIP_INSTALL) '.[bench]'
	@touch $@

$(DEBIAN12)/installed: $(REQUIREMENTS) packaging/debian-12.txt | $(DEBIAN12)/bin/pip
	@echo "Installing pbs-watch with Debian 12's library versions into $(DEBIAN12) ..."
	@$(DEBIAN12)/bin/python $(PIP_INSTALL) --use-pep517 --constraint packaging/debian-12.txt --editable '.[test]'
	@touch $@

$(BENCH)/bin/pip: PYTHON := $(or $(wildcard /usr/bin/python3),$(PYTHON))

# bin/pip is the last thing that venv makes: where it is, the environment is whole.
$(VENV)/bin/pip $(DEBIAN12)/bin/pip $(BENCH)/bin/pip:
	$(if $(shell test -w . && echo yes),,$(error $(CURDIR) cannot be written by this user; \
	  copy it to a folder of your own and run make there))
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: $(PYTHON) is not installed. As root: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is $$($(PYTHON) -V), pbs-watch needs Python 3.11 or later." \
	    "Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make virtual environments." \
	    "As root: apt-get install python3-venv" >&2; exit 1; }
	@mkdir -p $(dir $(@D))
	@$(PYTHON) -m venv --clear $(patsubst %/bin/,%,$(dir $@))
