"""Calls with known word times, and how recognised words are compared with them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
from builders import word

from evaluation.benchmarks.word_times import Inside, count_inside, errors_ms, inside_table, times_table
from evaluation.references import StmLine
from evaluation.sets.make_word_times import SCRIPTS, pause_s, record, trimmed
from evaluation.sets.word_times import TimedCall, load_calls, parse_words
from evaluation.word_times import Match, match_words
from tasks.records import Word


def spread(text: str, step_s: float = 1.0, late_s: float = 0.0) -> list[Word]:
    """Words of half a step each, one a step."""
    return [word(one, nth * step_s + late_s, (nth + 0.5) * step_s + late_s) for nth, one in enumerate(text.split())]


def texts(matches: list[Match]) -> list[tuple[str, str]]:
    """What was matched with what."""
    return [(" ".join(one.text for one in match.known), " ".join(one.text for one in match.found)) for match in matches]


# ----------------------------------------------------------------------------------------------------- stored set


def test_stored_calls() -> None:
    """Twelve calls of 25 to 60 s; their words are those of the scripts, in order, apart, and within the recording."""
    calls = load_calls()
    assert len(SCRIPTS) == len(calls) == 12
    assert sum(call.path.stat().st_size for call in calls) < 4_000_000
    for call, script in zip(calls, SCRIPTS, strict=True):
        info = soundfile.info(call.path)
        assert (8000, 1, "PCM_16") == (info.samplerate, info.channels, info.subtype)
        assert 25 <= info.duration <= 60
        assert " ".join(script).replace(",", "").replace("... ", "").split() == [one.text for one in call.words]
        assert all(0.1 < one.end - one.start < 1 for one in call.words)
        gaps = [after.start - before.end for before, after in itertools.pairwise(call.words)]
        assert all(0.0299 < gap < 0.4001 or 1.4999 < gap < 4.0001 for gap in gaps)
        assert max(gaps) >= 1.5
        assert call.words[0].start > 0.5
        assert call.words[-1].end < info.duration - 0.5


def test_stored_times_are_those_of_the_sound() -> None:
    """Words are loud, pauses are not: between words there is line noise alone."""
    for call in load_calls():
        samples, _ = soundfile.read(call.path)
        edges = [(round(one.start * 8000), round(one.end * 8000)) for one in call.words]
        quiet = [samples[end:start] for (_, end), (start, _) in itertools.pairwise(edges)]
        assert all(np.sqrt(np.mean(samples[start:end] ** 2)) > 0.02 for start, end in edges)
        assert np.max(np.abs(np.concatenate(quiet))) < 0.01


def test_words_are_read() -> None:
    """A file says its call, and words with times."""
    text = '{"call_id": "c", "words": [{"text": "a", "start": 1, "end": 1.5}]}'
    assert ("c", (Word("a", 1.0, 1.5, 1.0),)) == parse_words(text)


def test_folder_without_calls(tmp_path: Path) -> None:
    """An empty folder is an error, and so is a missing recording."""
    with pytest.raises(FileNotFoundError, match="lacks calls"):
        load_calls(tmp_path)
    (tmp_path / "c.json").write_text('{"call_id": "c", "words": []}')
    with pytest.raises(FileNotFoundError, match=r"lacks c\.flac"):
        load_calls(tmp_path)


# ---------------------------------------------------------------------------------------------------------- maker


def beep(text: str) -> np.ndarray:
    """A voice that says a tone with silence around it; longer words last longer."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(800 * len(text)) / 8000)
    return np.pad(tone, 1600)


def test_made_times() -> None:
    """What is laid on the time line is where its times say, to a frame of 5 ms."""
    signal, words = record(["one two", "three, ... four"], (beep, beep), np.random.default_rng(1))
    assert ["one", "two", "three", "four"] == [one["text"] for one in words]
    loud = np.abs(signal) > 0.01
    for one in words:
        start, end = round(float(one["start"]) * 8000), round(float(one["end"]) * 8000)
        assert 800 * len(str(one["text"])) <= end - start <= 800 * len(str(one["text"])) + 80
        assert np.mean(loud[start:end]) > 0.7
        assert not np.any(loud[start - 80 : start])
        assert not np.any(loud[end : end + 80])


def test_trimmed() -> None:
    """The silence goes, and what is 34 dB softer than the loudest frame; the rest stays."""
    assert 1600 == len(trimmed(beep("aa")))
    assert 1600 == len(trimmed(beep("aa") + np.pad(0.01 * beep("aa")[1600:-1600], (0, 3200))))


def test_pauses() -> None:
    """By what follows: a word, a comma, a pause, the end of the sentence."""
    rng = np.random.default_rng(1)
    assert all(0.03 <= pause_s("a", "b", rng) <= 0.4 for _ in range(200))
    assert all(0.18 <= pause_s("a,", "b", rng) <= 0.4 for _ in range(200))
    assert all(1.5 <= pause_s("a,", "...", rng) <= 4 for _ in range(200))
    ends = [pause_s("a", None, rng) for _ in range(200)]
    assert all(0.25 <= end <= 0.4 or 1.5 <= end <= 4 for end in ends)
    assert 10 < sum(end >= 1.5 for end in ends) < 60


# ------------------------------------------------------------------------------------------------------ alignment


def test_equal_words_match() -> None:
    """Whatever their case and punctuation, and whatever else was heard or missed."""
    matches = list(match_words(spread("thank you for calling today"), spread("Thank you, um, calling to-day.")))
    assert [("thank", "Thank"), ("you", "you,"), ("calling", "calling"), ("today", "to-day.")] == texts(matches)
    assert all(match.one_to_one for match in matches)


def test_numbers_match_one_by_one_or_as_a_stretch() -> None:
    """A digit is its word; several words in one number are one stretch, from its first to its last."""
    known = spread("it is four four seven one on march third")
    assert ("four", "4.") in texts(list(match_words(known, spread("it is 4. 4. 7. 1. on March 3rd"))))
    found = [*spread("It is"), word("4471,", 2.1, 5.4), *spread("on March 3rd.", late_s=6)]
    matches = list(match_words(known, found))
    assert ("four four seven one", "4471,") in texts(matches)
    assert ("third", "3rd.") in texts(matches)
    (stretch,) = [match for match in matches if not match.one_to_one]
    assert pytest.approx((0.1, -0.1)) == (stretch.start_error_s, stretch.end_error_s)


def test_stretch_beside_other_words() -> None:
    """A number is found beside a word that was heard wrongly."""
    matches = list(match_words(spread("pay one hundred forty two dollars now"), spread("hey $142 now")))
    assert [("one hundred forty two dollars", "$142"), ("now", "now")] == texts(matches)


def test_other_words_do_not_match() -> None:
    """What is not the same is not compared."""
    assert [] == list(match_words(spread("five dollars"), spread("nine collars")))
    assert [] == list(match_words(spread("five"), []))
    assert [] == list(match_words([], spread("five")))


def test_errors() -> None:
    """Median and 95th percentile of what is off to either side, and the median with its sign."""
    assert pytest.approx((50, 95, 50)) == errors_ms([nth / 1000 for nth in range(101)])
    assert pytest.approx((100, 100, -100)) == errors_ms([-0.1, 0.1, -0.1])
    assert errors_ms([]) is None


def test_times_table() -> None:
    """Words and stretches in rows of their own, with the share of what was said that is in them."""
    call = TimedCall("c", Path("c.flac"), tuple(spread("pay four four now")))
    found = [*spread("pay", late_s=0.02), word("44", 1.1, 2.4), word("now", 3.04, 3.5)]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in times_table([call], {"ours": {call.path: found}}).splitlines()[2:]
    ]
    assert [
        ["ours", "words", "2", "50.0", "30", "39", "+30", "10", "19", "+10"],
        ["ours", "stretches", "1", "50.0", "100", "100", "+100", "100", "100", "-100"],
    ] == rows


def test_inside_reference_lines() -> None:
    """A word counts by its middle."""
    lines = [StmLine("c", 1, "agent", 1.0, 2.0, "hello"), StmLine("c", 1, "caller", 3.0, 4.0, "hi")]
    found = count_inside([word("a", 0.5, 1.4), word("b", 0.7, 1.4), word("c", 2.0, 3.0), word("d", 3.0, 4.0)], lines)
    assert Inside(4, 2) == found
    assert Inside(5, 2) == found + Inside(1, 0)
    assert "| ours | 4 | 50.0 |" in inside_table({"ours": found})
    assert "| ours | 0 | n/a |" in inside_table({"ours": Inside()})
