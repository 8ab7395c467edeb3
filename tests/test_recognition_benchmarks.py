"""Benchmarks of hot words, of language detection and of many calls: what they count, without a model."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation.benchmarks import hot_words, languages, many_calls
from evaluation.benchmarks.hot_words import Heard, judge, occurrences, terms_of
from evaluation.benchmarks.languages import Detected, find_named, in_time, named_language, wrong_ones
from evaluation.benchmarks.many_calls import Cost, cut, demo_sounds, make_calls, planned, samples_at, table
from evaluation.benchmarks.publish import publish
from evaluation.formats import ReferenceEntity
from evaluation.hypotheses import HypothesisUtterance
from evaluation.rates import EntityCounts
from tasks.settings import Settings

ENTITIES = (
    ReferenceEntity("person", "Priya Raman"),
    ReferenceEntity("organisation", "Bluefinch Travel"),
    ReferenceEntity("amount", "$310"),
    ReferenceEntity("person", "Priya Raman"),
)

# ------------------------------------------------------------------------------------------------------- hot words


def test_a_vocabulary_holds_names_once_and_no_numbers() -> None:
    """Amounts, dates and numbers are not known beforehand."""
    assert terms_of(ENTITIES) == ("Priya Raman", "Bluefinch Travel")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr BROOKS, please.", {"brooks": 1}),
        ("Daniel  Brooks's bill", {"daniel brooks": 1}),
        ("Brooks and Daniel Brooks", {"brooks": 1, "daniel brooks": 1}),
        ("two Brookses, a brookside", {}),
        ("", {}),
    ],
)
def test_terms_are_counted_as_whole_words(text: str, expected: dict[str, int]) -> None:
    """In any case, and a word of a longer term only once."""
    assert expected == occurrences(["Brooks", "Daniel Brooks"], [text])


def test_without_terms_nothing_is_counted() -> None:
    """An empty vocabulary is found nowhere."""
    assert not occurrences([], ["anything"])


def test_terms_do_not_run_across_texts() -> None:
    """What two people say is not one name."""
    assert not occurrences(["Daniel Brooks"], ["Daniel", "Brooks"])


def heard(*texts: str) -> Heard:
    """A call in which one thing was said, and something recognised."""
    said = [HypothesisUtterance("SPEAKER_00", start, start + 1, text) for start, text in enumerate(texts)]
    return judge(["Priya Raman owes Susan 310 dollars"], ENTITIES, said, ("Susan", "Priya Raman", "Helen"))


def test_invented_is_what_the_reference_lacks() -> None:
    """A term that was said is not invented; one heard more often than said is."""
    found = heard("Priya Raman owes Susan", "$310, Helen, and Susan")
    assert (4, 2) == (found.spoken, found.invented)


def test_names_and_other_entities_are_told_apart() -> None:
    """Each kind is found of all of its own; sums add both."""
    found = heard("Priya Raman owes Susan $310") + heard("nothing")
    assert EntityCounts(6, 1) == found.found(terms=True)
    assert EntityCounts(2, 1) == found.found(terms=False)
    assert 10 == found.words.reference_words


def test_hot_words_make_two_tables() -> None:
    """Every line has the columns of its head."""
    lines = hot_words.markdown({"none": heard("Priya Raman")}, {"none": Heard()})
    first, second = lines[: lines.index("")], lines[lines.index("") + 1 :]
    assert (3, 3) == (len(first), len(second))
    assert all(line.count("|") == part[0].count("|") for part in (first, second) for line in part)


# ------------------------------------------------------------------------------------------------------- languages


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fleurs-de-000.ogg", "de"),
        ("fleurs-pt-001.phone.wav", "pt"),
        ("de-DE_testing_audio.wav", "de"),
        ("en-US.wav", "en"),
        ("en-de-switch.mp3", None),
        ("jfk.flac", None),
        ("bank-01.mono.wav", None),
    ],
)
def test_a_name_says_its_language(name: str, expected: str | None) -> None:
    """Two letters before a number or a country; a file of two languages says none."""
    assert expected == named_language(name)


def test_only_recordings_with_a_language_are_found(tmp_path: Path) -> None:
    """Texts are passed over, and what says no language."""
    for name in ("fleurs-de-000.ogg", "fleurs-de-000.txt", "jfk.flac"):
        (tmp_path / name).touch()
    assert [(tmp_path / "fleurs-de-000.ogg", "de")] == find_named(tmp_path)


DETECTED = [
    Detected("fleurs-de-000.ogg", "de", "de"),
    Detected("fleurs-de-001.ogg", "de", "nl"),
    Detected("fleurs-de-000.phone.wav", "de", None),
]


def test_bands_are_counted_apart() -> None:
    """Right of all, for wide band and for the phone line; nothing found is not right."""
    assert ["| wide band | any | 2 | 1 | 50.0 |", "| phone line | any | 1 | 0 | 0.0 |"] == languages.rows(
        "any", DETECTED
    )


def test_wrong_ones_are_named() -> None:
    """With what was detected."""
    assert "Wrong of any: fleurs-de-001.ogg (nl), fleurs-de-000.phone.wav (no speech)." == wrong_ones("any", DETECTED)
    assert "Wrong of any: none." == wrong_ones("any", DETECTED[:1])


def test_utterances_are_told_in_order_of_time() -> None:
    """Whatever order the rows are in, and without their words."""
    rows = [
        {"language": "de", "start": 9.8, "end": 14.0, "text": "Hallo"},
        {"language": "en", "start": 0.5, "end": 9.13, "text": "Hello"},
    ]
    assert "en 0.5 to 9.1, de 9.8 to 14.0" == in_time(rows)
    assert "no speech" == in_time([])


# ------------------------------------------------------------------------------------------------------ many calls


def test_calls_are_cut_from_different_places() -> None:
    """Every piece is whole and begins elsewhere; sounds take turns."""
    sounds = [np.arange(300_000, dtype=np.float32), -np.arange(1, 200_001, dtype=np.float32)]
    pieces = [cut(sounds, number, 32_000) for number in range(1000)]
    assert {32_000} == {len(piece) for piece in pieces}
    assert 1000 == len({float(piece[0]) for piece in pieces})
    assert all((piece[1] > 0) == (number % 2 == 0) for number, piece in enumerate(pieces))


def test_a_sound_shorter_than_a_call_is_taken_whole() -> None:
    """There is nothing to choose from."""
    assert 100 == len(cut([np.zeros(100, dtype=np.float32)], 5, 200))


def test_made_calls_are_mu_law_with_ids_of_their_own(tmp_path: Path) -> None:
    """8 kHz, one channel; another count of calls of the same files has other ids."""
    paths = make_calls(demo_sounds(), 3, 0.5, tmp_path)
    found = [soundfile.info(path) for path in paths]
    assert {("ULAW", 8000, 1, 4000)} == {(one.subtype, one.samplerate, one.channels, one.frames) for one in found}
    ids = [item.call.call_id for part in (paths, paths[:1]) for item in planned(part, Settings())]
    assert ["3-0", "3-1", "3-2", "1-0"] == ids


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, {1}), (10, {1, 10}), (120, {1, 10, 50, 100, 120}), (200, {1, 10, 50, 100, 150, 200})],
)
def test_memory_is_read_after_powers_of_ten_and_every_fiftieth(count: int, expected: set[int]) -> None:
    """And after the last call."""
    assert expected == samples_at(count)


def test_growth_is_the_slope_of_what_has_settled() -> None:
    """Whatever the first hundred calls took does not count; with one sample there is no growth."""
    after = {1: 5, 10: 700, 50: 900} | {calls: 1000 + 3 * calls for calls in range(100, 1001, 50)}
    assert 3.0 == pytest.approx(Cost(1000, 4000, 100, 0, 5000, after).growth)
    assert Cost(100, 400, 10, 0, 5000, {1: 5, 100: 1000}).growth is None


def test_costs_are_a_line_for_each_count() -> None:
    """Powers of ten below the most are columns; a count below one has a dash there."""
    costs = [
        Cost(1, 4.0, 2.0, 500_000_000, 600_000_000, {1: 590_000_000}),
        Cost(20, 80.0, 40.0, 590_000_000, 610_000_000, {1: 600_000_000, 10: 601_000_000, 20: 602_000_000}),
    ]
    assert [
        "| 1 | 4 | 2.0 | 1800 | 2.0 | 500 | 590 | - | 590 | 600 | - |",
        "| 20 | 80 | 40.0 | 1800 | 2.0 | 590 | 600 | 601 | 602 | 610 | - |",
    ] == table(costs)[2:]


def test_memory_is_read_in_bytes() -> None:
    """The most is at least today's, and Python takes more than a megabyte."""
    now = many_calls.resident("VmRSS")
    assert 1_000_000 < now <= many_calls.resident("VmHWM")


def test_a_result_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, and below it how it was made; the same in the file, where one is asked for."""
    publish(["| a |", "| --- |"], "2026-11-26; here.", tmp_path / "table.md")
    assert "| a |\n| --- |\n\n2026-11-26; here.\n" == (tmp_path / "table.md").read_text()
    publish(["| a |", "| --- |"], "2026-11-26; here.", None)
    assert 2 * ("| a |\n| --- |\n\n2026-11-26; here.\n" + "\n") == capsys.readouterr().out
