"""One call in each format that `callscribe transcribe` writes."""

import io
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from builders import call_ref, failure, outcome, provenance, transcript, utterance
from hypothesis import given
from hypothesis import strategies as st

from evaluation.formats import parse_rttm, parse_stm
from flows.export import FORMATS, readable, render
from tasks.records import Utterance
from tasks.rows import CallRows, rows_of
from tasks.schemas import UTTERANCES

TALK = (
    utterance("Hello, AT&T. Is <this> on?", 0.5, 2.75, "agent"),
    utterance("Ja, natürlich 電話", 2.5, 4.0004, "customer", channel=1, overlap=True),
    utterance("Bye.", 3725.0625, 3726.5, "agent"),
)


def rows(*talk: Utterance, **call: object) -> CallRows:
    """The rows of a call that holds this talk."""
    return rows_of(outcome(call_ref("call-7", **call), transcript=transcript(talk)), provenance())


def text(format_name: str, *talk: Utterance) -> str:
    """A call as text."""
    return render(rows(*talk), format_name).decode()


def test_every_format_is_there() -> None:
    """What the command line offers."""
    assert ["txt", "json", "srt", "vtt", "stm", "rttm", "parquet"] == list(FORMATS)


def test_txt() -> None:
    """A line for each utterance, with minutes that go on counting after an hour."""
    assert (
        "[0:00] agent: Hello, AT&T. Is <this> on?\n[0:02] customer: Ja, natürlich 電話\n[62:05] agent: Bye.\n"
    ) == text("txt", *TALK)
    assert text("txt", *TALK) == readable(rows(*TALK).utterances)


def test_srt() -> None:
    """Numbered cues, a comma before the milliseconds, an empty line between."""
    assert (
        "1\n00:00:00,500 --> 00:00:02,750\nagent: Hello, AT&T. Is <this> on?\n\n"
        "2\n00:00:02,500 --> 00:00:04,000\ncustomer: Ja, natürlich 電話\n\n"
        "3\n01:02:05,062 --> 01:02:06,500\nagent: Bye.\n"
    ) == text("srt", *TALK)


def test_vtt() -> None:
    """Voices are named, and what WebVTT would read as markup is escaped."""
    assert (
        "WEBVTT\n\n"
        "00:00:00.500 --> 00:00:02.750\n<v agent>Hello, AT&amp;T. Is &lt;this&gt; on?\n\n"
        "00:00:02.500 --> 00:00:04.000\n<v customer>Ja, natürlich 電話\n\n"
        "01:02:05.062 --> 01:02:06.500\n<v agent>Bye.\n"
    ) == text("vtt", *TALK)


@pytest.mark.parametrize("said", ["a --> b", "</v><b>", "&lt;", "<00:00:01.000>", "x > y & z"])
def test_vtt_survives_any_text(said: str) -> None:
    """A cue's text has no time line and no tag but its voice, whatever is said, by whoever."""
    _, _, cue = text("vtt", utterance(said, speaker=said)).partition("\n<v ")
    name, _, payload = cue.removesuffix("\n").partition(">")
    for part in (name, payload):
        assert "<" not in part
        assert ">" not in part
        assert said == part.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_stm() -> None:
    """Channels count from 1, times are to the millisecond, and our own reader takes it back."""
    assert (
        "call-7 1 agent 0.500 2.750 Hello, AT&T. Is <this> on?\n"
        "call-7 2 customer 2.500 4.000 Ja, natürlich 電話\n"
        "call-7 1 agent 3725.062 3726.500 Bye.\n"
    ) == text("stm", *TALK)
    assert [1, 2, 1] == [line.channel for line in parse_stm(text("stm", *TALK))]


def test_rttm() -> None:
    """Turns without words: start and length, channels from 1."""
    assert (
        "SPEAKER call-7 1 0.500 2.250 <NA> <NA> agent <NA> <NA>\n"
        "SPEAKER call-7 2 2.500 1.500 <NA> <NA> customer <NA> <NA>\n"
        "SPEAKER call-7 1 3725.062 1.438 <NA> <NA> agent <NA> <NA>\n"
    ) == text("rttm", *TALK)
    assert ["agent", "customer", "agent"] == [turn.speaker for turn in parse_rttm(text("rttm", *TALK))]


def test_json() -> None:
    """The call's row without what is unknown, maps as objects, times as text, utterances with their words."""
    document = json.loads(text("json", *TALK))
    call, utterances = document["call"], document["utterances"]
    assert ("call-7", "transcribed", {"SPEAKER_00": 0.8}) == (call["call_id"], call["outcome"], call["talk_s"])
    assert ({"en": 1.0}, 3) == (call["languages"], call["recognition"]["chunks"])
    assert "2026-10-05 09:30:00+00:00" == call["started_at"]
    assert None not in call.values()
    assert "error" not in call
    assert [item.text for item in TALK] == [item["text"] for item in utterances]
    assert {"text": "Hello,", "start": 0.5, "end": 0.95, "probability": 0.9, "overlap": False} == utterances[0][
        "words"
    ][0]
    assert "natürlich 電話" in text("json", *TALK), "letters are written as they are"


@pytest.mark.parametrize("attributes", [{}, {"queue": "billing"}, {"queue": "billing", "site": "2"}])
def test_json_maps_are_objects(attributes: dict[str, str]) -> None:
    """A map is an object also when it is empty."""
    assert attributes == json.loads(render(rows(*TALK, attributes=attributes), "json"))["call"]["attributes"]


def test_json_of_a_failed_call() -> None:
    """A call that failed has its reason, and no utterances."""
    document = json.loads(render(rows_of(outcome(failure=failure("too_long", "too long")), provenance()), "json"))
    assert ("failed", "too_long", []) == (
        document["call"]["outcome"],
        document["call"]["error_code"],
        document["utterances"],
    )


def test_parquet() -> None:
    """The utterances as the data set holds them, readable by whatever reads Parquet."""
    table = pq.read_table(io.BytesIO(render(rows(*TALK), "parquet")))
    assert UTTERANCES.names == table.column_names
    assert [item.text for item in TALK] == table.column("text").to_pylist()
    assert [0, 1, 0] == table.column("channel").to_pylist()
    assert [len(item.words) for item in TALK] == [len(held) for held in table.column("words").to_pylist()]
    assert "start, seconds from the start of the call" == table.schema.field("start").metadata[b"comment"].decode()


@pytest.mark.parametrize(
    ("format_name", "expected"),
    [("txt", b""), ("srt", b""), ("vtt", b"WEBVTT\n"), ("stm", b""), ("rttm", b"")],
)
def test_a_call_without_speech(format_name: str, expected: bytes) -> None:
    """Nothing said is a valid, empty file."""
    assert expected == render(rows(), format_name)


def test_an_empty_parquet_has_the_columns() -> None:
    """A call without speech has no rows, in the same schema."""
    table = pq.read_table(io.BytesIO(render(rows(), "parquet")))
    assert (UTTERANCES.names, 0) == (table.column_names, len(table))


@pytest.mark.parametrize(
    ("seconds", "stamp"),
    [
        (0.0, "00:00:00.000"),
        (0.0004, "00:00:00.000"),
        (0.0006, "00:00:00.001"),
        (59.9996, "00:01:00.000"),
        (3599.9999, "01:00:00.000"),
        (86399.999, "23:59:59.999"),
        (360000.0, "100:00:00.000"),
    ],
)
def test_times_are_rounded_once(seconds: float, stamp: str) -> None:
    """Milliseconds are rounded and carry over: never 60 seconds, never 1000 milliseconds."""
    assert f"{stamp} --> {stamp}" in text("vtt", replace(utterance("hi"), start=seconds, end=seconds))


@given(st.floats(0, 100_000))
def test_stamps_are_well_formed_and_near(seconds: float) -> None:
    """Any time is written in full, and within half a millisecond."""
    cue = text("srt", replace(utterance("hi"), start=seconds, end=seconds)).split("\n")[1]
    hours, minutes, rest = cue.partition(" --> ")[0].split(":")
    whole, thousandths = rest.split(",")
    assert (True, 2, 2, 3) == (len(hours) >= 2, len(minutes), len(whole), len(thousandths))
    assert (True, True) == (int(minutes) < 60, int(whole) < 60)
    assert abs(3600 * int(hours) + 60 * int(minutes) + int(whole) + int(thousandths) / 1000 - seconds) < 0.000501
