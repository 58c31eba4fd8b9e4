#!/bin/sh
# The image's entry point: a service by its name, anything else is for the command line.
set -eu
case "${1:-}" in
  inference | outcomes | featurestats | drift | trainer | deployer)
    exec python -m "driftloop.$1" ;;
  *)
    exec driftloop "$@" ;;
esac
