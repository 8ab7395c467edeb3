"""Jobs that were not done because of their device: what is kept of it, and what whoever submits jobs makes of that."""

import json
from pathlib import Path

import pytest
from small_month import SmallMonth, bundles, fill, without_prefect
from stand_ins import StandInRecognizer, stand_in_models

from tasks.errors import DeviceError
from tasks.heard import CallSpeech
from tasks.records import Recognition
from tasks.refusals import Refusal, excluded_nodes, forget_refusals, must_stop, note_refusal, refusals
from tasks.storage import open_storage

__all__ = ["bundles"]
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


class DyingRecognizer(StandInRecognizer):
    """Finds at its first call that the device has gone."""

    def hear(self, call: CallSpeech) -> Recognition | Exception:
        """Hear nothing."""
        message = f"the device has gone before {len(call.channels)} channels were heard"
        raise DeviceError(message)


def test_a_device_that_fails_at_work(tmp_path: Path, bundles: Path) -> None:
    """No call is failed and no attempt counted; the refusal says that the device had passed the gate."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), bundles)
    fill(open_storage(month.archive))
    with (
        without_prefect(stand_in_models(bundles, DyingRecognizer())),
        pytest.raises(DeviceError, match=r"^the device has gone before .* channels were heard"),
    ):
        month.run()
    run_id = next(month.storage.list("_runs/")).key.split("/")[1]
    (refusal,) = refusals(month.storage, run_id)
    assert (1, "cpu", True) == (refusal.job, refusal.device, refusal.at_work)
    (attempt,) = [info.key for info in month.storage.list("_runs/") if "/attempts/" in info.key]
    assert json.loads(month.storage.get(attempt).data)["orderly"]
    assert [] == month.data.read_calls("2026-10")
