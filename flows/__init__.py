"""Orchestration: the one place that imports Prefect."""

from tasks.settings import prepare_environment

# Prefect and the model libraries read their telemetry switches when they are imported, and every way into callscribe
# (command line, worker, tests) imports this package first.
prepare_environment()
