"""The benchmark of a month: what it makes up, and what it counts."""

from itertools import pairwise
from pathlib import Path

import pytest

from evaluation.benchmarks.month import Cost, ListedArchive, count_requests, draw, made_up, measure, row
from tasks.storage import open_storage


def test_what_is_made_up_is_plausible_and_always_the_same() -> None:
    """Words follow each other, and two people take turns."""
    said = made_up(3)
    assert made_up(3) == said != made_up(4)
    assert {"agent", "customer"} == {one.speaker for one in said}
    words = [word for one in said for word in one.words]
    assert 900 == len(words)
    assert all(before.end <= after.start for before, after in pairwise(words))


def test_an_archive_that_is_only_a_listing(tmp_path: Path) -> None:
    """Every call has a key of the month."""
    archive = ListedArchive(tmp_path.as_uri())
    archive.calls = 70
    assert 70 == len({info.key for info in archive.list("2026/10/")})
    assert [] == list(archive.list("2026/11/"))


def test_requests_are_counted(tmp_path: Path) -> None:
    """By kind."""
    storage = open_storage(tmp_path.as_uri())
    asked = count_requests(storage)
    storage.put("a", b"1")
    storage.get("a")
    assert ["a"] == [info.key for info in storage.list()]
    assert {"put": 1, "get": 1, "list": 1} == asked


@pytest.mark.long
def test_a_small_month(tmp_path: Path) -> None:
    """It adds up, or the benchmark says so."""
    cost = measure(30, tmp_path.as_uri(), shard_hours=1.0, job_hours=1.0)
    assert (30, 3) == (cost.calls, cost.jobs)
    assert 13 == row(cost).count("|")


def test_a_picture(tmp_path: Path) -> None:
    """Of several sizes; it is a PNG."""
    costs = [Cost(calls, 1, 1.0, calls / 250, 1.0, 0.5, 1.0, 1.0, 800.0, 70) for calls in (1000, 10_000)]
    draw(costs, tmp_path / "month.png")
    assert b"\x89PNG" == (tmp_path / "month.png").read_bytes()[:4]
