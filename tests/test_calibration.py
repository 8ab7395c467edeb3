"""Calibrations: monotone maps of probabilities, how they are stored, and for which recogniser one is taken."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bundles import BundleFile, Manifest
from tasks.calibration import CALIBRATIONS, Calibration, load_calibration, recognizer_digest

PROBABILITIES = st.floats(0.0, 1.0)
ANY_NUMBER = st.floats(-2.0, 3.0)
HALVED = Calibration(((0.0, 0.0), (1.0, 0.5)))


def knots(raw: Iterable[float], values: Iterable[float]) -> tuple[tuple[float, float], ...]:
    """Knots from unordered values; as many as there are of both."""
    return tuple(zip(sorted(raw), sorted(values), strict=False))


CALIBRATED = st.builds(
    Calibration, st.builds(knots, st.lists(PROBABILITIES, max_size=20, unique=True), st.lists(PROBABILITIES))
)


@given(CALIBRATED, ANY_NUMBER, ANY_NUMBER)
def test_a_calibration_is_monotone_and_stays_inside(calibration: Calibration, one: float, other: float) -> None:
    """More trust stays more trust, or becomes equal, and a probability stays one."""
    low, high = (calibration.apply(probability) for probability in sorted([one, other]))
    assert 0.0 <= low <= high <= 1.0


@given(PROBABILITIES)
def test_without_knots_nothing_changes(probability: float) -> None:
    """A recogniser that nobody calibrated keeps its raw probabilities, and its fingerprint."""
    assert probability == Calibration().apply(probability)
    assert not Calibration().digest


@given(CALIBRATED)
def test_the_line_goes_through_its_knots(calibration: Calibration) -> None:
    """At a knot stands its value."""
    assert [value for _, value in calibration.knots] == [calibration.apply(raw) for raw, _ in calibration.knots]


@pytest.mark.parametrize(
    ("probability", "expected"), [(-1.0, 0.1), (0.0, 0.1), (0.2, 0.1), (0.4, 0.3), (0.6, 0.5), (0.9, 0.5), (7.0, 0.5)]
)
def test_between_knots_is_a_line_and_outside_it_is_level(probability: float, expected: float) -> None:
    """What lies between two knots is interpolated; nothing is extrapolated."""
    assert expected == pytest.approx(Calibration(((0.2, 0.1), (0.6, 0.5))).apply(probability))


@given(CALIBRATED)
def test_calibrations_survive_a_round_trip(calibration: Calibration) -> None:
    """What is written as JSON is read back the same, with the same digest."""
    read = Calibration.from_json(calibration.to_json())
    assert (calibration, calibration.digest) == (read, read.digest)


def test_other_knots_have_another_digest() -> None:
    """A transcript's fingerprint changes with its calibration."""
    other = Calibration(((0.0, 0.0), (1.0, 0.6)))
    assert (16, 16, 2) == (len(HALVED.digest), len(other.digest), len({HALVED.digest, other.digest}))


@pytest.mark.parametrize(
    "wrong",
    [
        ((0.0, 1.5),),
        ((-0.1, 0.5),),
        ((float("nan"), 0.5),),
        ((0.5, 0.1), (0.5, 0.2)),
        ((0.5, 0.1), (0.4, 0.2)),
        ((0.1, 0.5), (0.2, 0.4)),
    ],
)
def test_knots_that_make_no_monotone_map_are_refused(wrong: tuple[tuple[float, float], ...]) -> None:
    """Outside of 0 to 1, without order, or falling."""
    with pytest.raises(ValueError, match="knot"):
        Calibration(wrong)


@pytest.mark.parametrize(
    ("bundle", "digest", "expected"),
    [("starter", "aa", HALVED), ("starter", "bb", Calibration()), ("large", "aa", Calibration())],
)
def test_only_the_recogniser_that_was_calibrated_is(
    tmp_path: Path, bundle: str, digest: str, expected: Calibration
) -> None:
    """A bundle that is not known, or that holds another recogniser by now, keeps raw probabilities."""
    path = tmp_path / "calibrations.json"
    path.write_text(json.dumps({"starter": {"recognizer": "aa", "knots": HALVED.knots, "words": 7}}), encoding="utf-8")
    assert expected == load_calibration(bundle, digest, path)


def test_all_packaged_calibrations_load() -> None:
    """Each packaged entry names its recogniser, has few knots, and calls no word certain."""
    for name, entry in json.loads(CALIBRATIONS.read_text(encoding="utf-8")).items():
        found = load_calibration(name, entry["recognizer"])
        assert len(found.knots) <= 20
        assert all(0.01 <= value <= 0.99 for _, value in found.knots)


def test_the_recogniser_of_a_bundle_is_known_by_its_model() -> None:
    """The digest is that of `model.bin`; a bundle without one has none."""
    model, other = (
        BundleFile(path, 1, sha256, "here", "1", "none")
        for path, sha256 in (("recognizer/model.bin", "aa"), ("recognizer/config.json", "bb"))
    )
    assert "aa" == recognizer_digest(Manifest("one", "starter", (other, model)))
    assert not recognizer_digest(Manifest("none", "starter", (other,)))
