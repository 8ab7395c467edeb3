"""Jobs that were not done because of their device: what is kept of it, and what whoever submits jobs makes of that."""

from pathlib import Path

import pytest

from tasks.refusals import Refusal, excluded_nodes, forget_refusals, must_stop, note_refusal, refusals
from tasks.storage import open_storage

AT = "2026-10-01T00:00:00+00:00"


def _on(*nodes: str, at_work: bool = False) -> list[Refusal]:
    return [Refusal(number, node, "cuda", "no driver", AT, at_work) for number, node in enumerate(nodes, 1)]


def test_what_was_noted_is_read(tmp_path: Path) -> None:
    """Each by itself, also two of one job on one node; other runs have their own."""
    storage = open_storage(tmp_path.as_uri())
    for _ in range(2):
        note_refusal(storage, "run", 1, "a", "cuda:0", "no driver")
    note_refusal(storage, "run", 12, "b", "cuda", "it died", at_work=True)
    note_refusal(storage, "another", 3, "c", "cuda", "no driver")
    found = refusals(storage, "run")
    assert [(1, "a", "cuda:0", "no driver", False)] * 2 + [(12, "b", "cuda", "it died", True)] == sorted(
        (one.job, one.node, one.device, one.seen, one.at_work) for one in found
    )
    assert sorted(one.at for one in found) == [one.at for one in found]
    forget_refusals(storage, "run")
    assert ([], 1) == (refusals(storage, "run"), len(refusals(storage, "another")))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ((), ()),
        (("a", "b", "c"), ()),
        (("b", "a", "b", "a", "c"), ("a", "b")),
        (("a", "a", "a"), ("a",)),
    ],
)
def test_nodes_that_are_passed_by(nodes: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """After two on one, whether the device failed at the gate or at work."""
    assert expected == excluded_nodes(_on(*nodes))
    assert expected == excluded_nodes(_on(*nodes, at_work=True))


@pytest.mark.parametrize(("count", "expected"), [(0, False), (4, False), (5, True), (6, True)])
def test_when_no_more_jobs_are_submitted(count: int, expected: bool) -> None:
    """After five at the gate, wherever they were; devices that failed at work are not among them."""
    assert expected == must_stop(_on(*map(str, range(count))))
    assert not must_stop(_on(*map(str, range(count)), at_work=True))
