"""Flows for the tests of the cluster itself: they run in pods, from a path entrypoint."""

import os
import time
from pathlib import Path

from prefect import flow


@flow
def greet(folder: str, name: str) -> str:
    """Write down where this runs, into a file of the test's."""
    place = f"{name} on {os.environ['CALLSCRIBE_NODE']}"
    (Path(folder) / f"{name}.txt").write_text(place)
    return place


@flow
def wait_for(file: str) -> None:
    """Go on when the test has made a file; says so in a file beside it that it has begun."""
    with Path(f"{file}.begun").open("a") as log:
        log.write(f"{os.environ['CALLSCRIBE_NODE']}\n")
    while not Path(file).exists():
        time.sleep(0.1)
