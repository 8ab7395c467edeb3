"""The `callscribe` command in a process that the tests fork, with Prefect and the flows imported beforehand."""

import sys
from collections.abc import Sequence

from prefect.context import refresh_global_settings_context

# What `callscribe run` imports on its way.
import flows.archive
import flows.cli
import flows.cli_runs
import flows.console
import flows.deployed_jobs
import flows.tries


def run(arguments: Sequence[str]) -> None:
    """Be the command that was started with these arguments. Prefect reads its settings anew, of this environment."""
    refresh_global_settings_context()
    sys.argv = ["callscribe", *arguments]
    flows.cli.main()
