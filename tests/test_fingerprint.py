"""The fingerprint changes with whatever can change a transcript, and with nothing else."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from tasks.fingerprint import SPEED_SETTINGS, fingerprint
from tasks.records import CallHints
from tasks.settings import Settings, load_settings

HINTS = CallHints("en", ("agent", "customer"), 2, ("en", "de"), ("Ms Grey", "ACME"))
OTHER_HINTS: Mapping[str, list[Any]] = {
    "language": [None, "de"],
    "channel_roles": [(), ("customer", "agent")],
    "speakers": [None, 3],
    "languages": [(), ("en",), ("de", "en", "fr")],
    "hot_words": [(), ("Ms Grey",), ("ACME", "Ms Grey")],
}


@pytest.fixture(scope="module")
def plain() -> Settings:
    """The defaults."""
    return load_settings(overrides={})


def changed(settings: Settings, group: str, **values: object) -> Settings:
    """Settings with other values in one group."""
    given = getattr(settings, group).model_copy(update=values)
    return settings.model_copy(update={group: given})


def test_every_hint_is_tried() -> None:
    """A hint that is added to the record is added here."""
    assert [field.name for field in fields(CallHints)] == list(OTHER_HINTS)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, held in OTHER_HINTS.items() for value in held])
def test_each_hint_changes_it(plain: Settings, name: str, value: object) -> None:
    """What is known of a call decides how it is heard."""
    hints = replace(HINTS, **{name: value})
    assert fingerprint(plain, "bundle", "int8", HINTS) != fingerprint(plain, "bundle", "int8", hints)


def test_the_order_of_allowed_languages_does_not_matter(plain: Settings) -> None:
    """They are a set; hot words are not, as the decoder is given them in their order."""
    turned = replace(HINTS, languages=("de", "en"))
    assert fingerprint(plain, "bundle", "int8", HINTS) == fingerprint(plain, "bundle", "int8", turned)


def test_bundle_compute_type_and_calibration_change_it(plain: Settings) -> None:
    """Other models, other numbers, or other word probabilities are another transcript."""
    found = [
        fingerprint(plain, "bundle", "int8", HINTS),
        fingerprint(plain, "another", "int8", HINTS),
        fingerprint(plain, "bundle", "float16", HINTS),
        fingerprint(plain, "bundle", "int8", HINTS, calibration="ca11b"),
        fingerprint(plain, "bundle", "int8", HINTS, calibration="ca11c"),
    ]
    assert len(found) == len(set(found))
    assert {16} == {len(one) for one in found}
    assert found[0] == fingerprint(plain, "bundle", "int8", HINTS, calibration="")


@pytest.mark.parametrize("name", sorted(SPEED_SETTINGS))
def test_speed_does_not_change_it(plain: Settings, name: str) -> None:
    """How many chunks and threads are at work at once decides no word."""
    assert name in type(plain.recognizer).model_fields
    other = changed(plain, "recognizer", **{name: 7})
    assert fingerprint(plain, "bundle", "int8", HINTS) == fingerprint(other, "bundle", "int8", HINTS)


def test_every_other_setting_of_the_recognizer_changes_it(plain: Settings) -> None:
    """Nothing else of the recogniser is left out; its kind is another recogniser (`test_fallback_settings`)."""
    before = fingerprint(plain, "bundle", "int8", HINTS)
    for name in type(plain.recognizer).model_fields.keys() - SPEED_SETTINGS - {"kind"}:
        other = changed(plain, "recognizer", **{name: "other"})
        assert before != fingerprint(other, "bundle", "int8", HINTS), name
