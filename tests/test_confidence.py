"""Which words are right, how far probabilities say so, and how they are fitted to."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
from builders import words
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evaluation.benchmarks.calibrate import (
    RAW,
    Collected,
    Heard,
    best,
    find_recordings,
    leave_one_out,
    markdown,
    pool,
)
from evaluation.confidence import (
    HIGHEST,
    LOWEST,
    MOST_KNOTS,
    Pair,
    brier_score,
    expected_calibration_error,
    fit_isotonic,
    fit_temperature,
    reliability,
    scored_words,
    word_tokens,
)
from evaluation.normalise import normalise, normalised_words
from tasks.calibration import Calibration

SAID = st.lists(
    st.sampled_from(
        "one two hundred and thirty five dollars $135 um uh, it's I'm gonna a half okay. [noise] (so oh - 3:30".split()
    ),
    max_size=10,
)
PAIRS = st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), max_size=80)
FITS = pytest.mark.parametrize("fit", [fit_isotonic, fit_temperature])
Fit = Callable[[Sequence[Pair]], Calibration]


def right(reference: str, *utterances: str, language: str = "en") -> list[bool]:
    """Judge the words of utterances, each said in full trust."""
    said = [words(text) for text in utterances]
    return [fits for _, fits in scored_words(normalised_words([reference], language), said, language)]


def spread(shares: Sequence[tuple[float, float]], size: int = 100) -> list[Pair]:
    """So many words of each probability, of which that share is right."""
    return [(probability, place < round(share * size)) for probability, share in shares for place in range(size)]


def heard(call: str, pairs: Sequence[Pair], name: str | None = None) -> Heard:
    """The words of a recording."""
    return Heard(name or call, "calls", call, tuple(pairs))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", []),
        ("", "hello there", [False, False]),
        ("hello there", "", []),
        ("hello there", "Hello, where?", [True, False]),
        ("the cat sat", "the big cat sat", [True, False, True, True]),
        ("the cat sat", "the sat", [True, True]),
        ("it is one hundred and thirty five dollars", "It's $135.", [True, True]),
        ("it's $135", "it is one hundred and thirty five dollars", [True] * 8),
        ("it's $135", "it is one hundred and thirty six dollars", [True, True, *[False] * 6]),
        ("so well i am going to", "So, um, well, I'm gonna", [True] * 4),
        ("it is fine", "it was, uh - fine", [True, False, True]),
        ("do not go", "don't go", [True, True]),
        ("do go", "don't go", [False, True]),
    ],
)
def test_words_are_right_where_all_they_say_was_said(reference: str, hypothesis: str, expected: list[bool]) -> None:
    """Numbers in words and in digits, contractions, fillers and empty sides; a filler is no word."""
    assert expected == right(reference, hypothesis)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("five five five zero one four two okay", "555-0142, okay?", [True, True]),
        ("four four seven one nine zero two five", "4471 9025", [True, True]),
        ("at three thirty", "at 3:30", [True, True]),
        ("25 to 30, 10 or 11", "25-30 10 or 11", [False, True, True, True]),
        ("one three five", "1 3", [False, False]),
        ("four four seven one", "4481", [False]),
        ("four four seven one one", "4471-1", [True]),
    ],
)
def test_a_number_may_be_written_in_other_groups(reference: str, hypothesis: str, expected: list[bool]) -> None:
    """How digits are grouped is no error; a digit too few or a wrong one makes all of the number wrong."""
    assert expected == right(reference, hypothesis)


def test_utterances_are_judged_in_one_alignment() -> None:
    """Words are aligned over the call, whatever utterances they are cut into, and keep their own probabilities."""
    said = [words("so um you", probability=0.5), (), words("are right", probability=0.75)]
    expected = [(0.5, True), (0.5, True), (0.75, True), (0.75, False)]
    assert expected == scored_words(["so", "you", "are", "wrong"], said)


def test_other_languages_go_through_their_normaliser() -> None:
    """German keeps its umlauts; in Japanese every character is a token of its word."""
    assert [True, True] == right("grüß gott", "Grüß Gott!", language="de")
    assert [True, False] == right("もしもし", "もし もじ", language="ja")


@settings(deadline=None)
@given(SAID)
def test_mapping_keeps_every_token(said: list[str]) -> None:
    """The tokens are those of the whole text, and their words come in order and exist."""
    found = word_tokens(said)
    owners = [owner for _, owner in found]
    assert normalise(" ".join(said)).split() == [token for token, _ in found]
    assert all(owner and set(owner) <= set(range(len(said))) for owner in owners)
    assert sorted(owners) == owners


@settings(deadline=None)
@given(SAID, SAID)
def test_an_identical_transcript_is_right(first: list[str], second: list[str]) -> None:
    """Whatever is said, whoever writes the same has every word right."""
    assume("3:30" not in {*first, *second})
    texts = [" ".join(first), " ".join(second)]
    said = [words(text) for text in texts]
    reference = normalised_words(texts)
    assert all(fits for _, fits in scored_words(reference, said))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (spread([(1.0, 0.5)]), 0.5),
        (spread([(0.5, 0.5)]), 0.0),
        (spread([(tenth / 10, tenth / 10) for tenth in range(11)]), 0.0),
        (spread([(0.5, 1.0), (1.0, 0.5)]), 0.5),
    ],
)
def test_calibration_error_of_known_words(pairs: list[Pair], expected: float) -> None:
    """Perfectly calibrated words have none; all trust with half of the words right is half wrong."""
    assert expected == pytest.approx(expected_calibration_error(pairs))


@given(PAIRS, st.integers(1, 15), st.randoms())
def test_bins_hold_every_word_once(pairs: list[Pair], bins: int, random: Random) -> None:
    """In any order the same bins, no more than asked for, of rising probability."""
    table = reliability(pairs, bins)
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert len(pairs) == sum(one.words for one in table)
    assert [one.words for one in table] == [one.words for one in reliability(shuffled, bins)]
    assert len(table) <= bins
    assert [one.mean_probability for one in table] == sorted(one.mean_probability for one in table)


def test_bins_are_of_equal_mass() -> None:
    """Wherever the probabilities lie, a bin holds its share of words."""
    pairs = [(1 - 0.5 ** (place / 10), True) for place in range(100)]
    assert [10] * 10 == [one.words for one in reliability(pairs)]


@given(PAIRS)
def test_scores_are_shares(pairs: list[Pair]) -> None:
    """Between 0 and 1, the error of calibration no more than the distance from outcomes, None without words."""
    error, brier = expected_calibration_error(pairs), brier_score(pairs)
    if not pairs:
        assert (None, None) == (error, brier)
    else:
        assert 0.0 <= error <= math.sqrt(brier) + 1e-9 <= 1.0 + 1e-9


@FITS
@settings(deadline=None)
@given(pairs=PAIRS)
def test_fits_are_small_and_call_no_word_certain(fit: Fit, pairs: list[Pair]) -> None:
    """Whatever was heard gives a valid calibration of few knots, inside of what may be said of a word."""
    found = fit(pairs)
    assert len(found.knots) <= MOST_KNOTS
    assert bool(found.knots) == bool(pairs)
    assert all(LOWEST <= value <= HIGHEST for _, value in found.knots)


@FITS
def test_fits_find_what_was_put_in(fit: Fit) -> None:
    """Words that are right less often than they say are calibrated: here the logit is halved."""

    def truth(raw: float) -> float:
        return 1 / (1 + math.sqrt((1 - raw) / raw))

    raws = [0.05 + 0.03 * step for step in range(31)]
    pairs = spread([(raw, truth(raw)) for raw in raws], size=400)
    found = fit(pairs)
    assert [truth(raw) for raw in raws] == pytest.approx([found.apply(raw) for raw in raws], abs=0.02)
    after = [(found.apply(probability), fits) for probability, fits in pairs]
    assert expected_calibration_error(after) < 0.01
    assert expected_calibration_error(pairs) > 0.05


def test_a_call_is_never_calibrated_by_itself() -> None:
    """Recordings of one call are left out together."""
    wrong, fine = spread([(0.9, 0.0)]), spread([(0.9, 0.8)])
    calls = [heard("a", wrong), heard("a", wrong, "a.phone"), heard("b", fine)]
    found = [one.pairs[0][0] for one in leave_one_out(calls, fit_isotonic)]
    assert [0.8, 0.8, LOWEST] == pytest.approx(found)


def test_raw_probabilities_win_where_nothing_is_better() -> None:
    """A single call leaves nothing to fit to, and of equals the raw probabilities are taken."""
    calls = (heard("a", spread([(0.5, 0.25)])),)
    ways = {RAW: calls, "isotonic": leave_one_out(calls, fit_isotonic)}
    assert RAW == best(ways)
    assert pool(calls) == pool(ways["isotonic"])


def test_collected_pairs_survive_a_round_trip_and_make_a_table() -> None:
    """What is kept is read back the same; the table names every set and all of them."""
    collected = Collected("starter", "aa", "a cpu", (heard("a", spread([(0.9, 0.5)])), heard("b", [])))
    assert collected == Collected.from_json(collected.to_json())
    lines = markdown(collected, {RAW: collected.heard}).splitlines()
    assert "| calls | 2 | 100 | 50.0 | 90.0 | 0.400 | 0.410 |" == lines[2]
    assert lines[3].startswith("| all | 2 | 100 |")


def test_recordings_are_found_with_their_references(tmp_path: Path) -> None:
    """STM files of any folder, texts beside the recording; stereo and what has no reference are passed over."""
    (tmp_path / "calls" / "deep").mkdir(parents=True)
    (tmp_path / "noisy").mkdir()
    (tmp_path / "calls" / "x.stm").write_text("x 1 agent 2 3 there\nx 1 caller 0 1 hello\n", encoding="utf-8")
    (tmp_path / "noisy" / "y.txt").write_text("one text", encoding="utf-8")
    names = ["calls/deep/x.mono.wav", "calls/x.stereo.wav", "noisy/x.noise.ogg", "noisy/y.phone.wav", "noisy/z.wav"]
    for name in names:
        (tmp_path / name).touch()
    found = find_recordings([tmp_path / "calls", tmp_path / "noisy"])
    assert [
        ("x.mono.wav", "calls", "x", ("hello", "there")),
        ("x.noise.ogg", "noisy", "x", ("hello", "there")),
        ("y.phone.wav", "noisy", "y", ("one text",)),
    ] == [(one.path.name, one.folder, one.call, one.texts) for one in found]
