"""Speech to words: joining pieces, times in the call, and a real call through the starter models."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from builders import region, word
from faster_whisper.transcribe import Segment as WhisperSegment
from faster_whisper.transcribe import Word as WhisperWord
from hypothesis import given
from hypothesis import strategies as st

from tasks.audio import MODEL_SAMPLING_RATE, prepare
from tasks.decoding import decode
from tasks.models import Models
from tasks.recognize import Recognizer, join_pieces
from tasks.records import PreparedAudio, Recognition, Region, Samples, Word
from tasks.setting_groups import AudioSettings, RecognizerSettings, VadSettings
from tasks.vad import speech_regions

ARCHIVE = Path("evaluation/sets/demo/archive/2026/10")

# --------------------------------------------------------------------------------------------------- join_pieces


def pieces(*raw: str) -> list[tuple[str, Word]]:
    """Pieces as the aligner gives them, a tenth of a second each."""
    return [(text, Word(text.strip(), index / 10, (index + 1) / 10, 0.9)) for index, text in enumerate(raw)]


@pytest.mark.parametrize(
    ("language", "raw", "expected"),
    [
        ("en", [" $89", ".95"], ["$89.95"]),
        ("en", [" it", " is", " $89", ".95", "."], ["it", "is", "$89.95."]),
        ("en", [" 4471", "-", "9025"], ["4471-9025"]),
        ("en", [" don", "'t", " know"], ["don't", "know"]),
        ("en", ["Hello", " there"], ["Hello", "there"]),
        ("en", ["$", "5", " please"], ["$5", "please"]),
        ("en", [], []),
        ("de", [" Haus", "tür"], ["Haustür"]),
        ("ja", ["もし", "もし", "、", "田中"], ["もし", "もし", "、", "田中"]),
        ("zh", ["你", "好"], ["你", "好"]),
        ("th", ["สวัส", "ดี"], ["สวัส", "ดี"]),
        ("ko", [" 안녕", "하세요"], ["안녕하세요"]),
    ],
)
def test_pieces_are_joined_to_words(language: str, raw: list[str], expected: list[str]) -> None:
    """A piece without a space before it belongs to the word before, where the language writes spaces."""
    assert expected == [item.text for item in join_pieces(pieces(*raw), language)]


def test_a_joined_word_spans_its_pieces() -> None:
    """It starts with the first, ends with the last, and is as sure as the least sure of them."""
    raw = [(" $89", word("$89", 1.0, 1.4, 0.9)), (".", word(".", 1.4, 1.5, 0.3)), ("95", word("95", 1.5, 1.9, 0.8))]
    assert (word("$89.95", 1.0, 1.9, 0.3),) == join_pieces(raw, "en")


@given(st.lists(st.tuples(st.booleans(), st.text("abc$.", min_size=1, max_size=3)), max_size=12), st.sampled_from("ej"))
def test_joining_loses_no_letter(parts: list[tuple[bool, str]], which: str) -> None:
    """All pieces' letters are there in order, in no more words than pieces, over the same time."""
    raw = pieces(*[(" " if space else "") + text for space, text in parts])
    joined = join_pieces(raw, {"e": "en", "j": "ja"}[which])
    assert "".join(text for _, text in parts) == "".join(item.text for item in joined)
    assert len(joined) == len(parts) if which == "j" else len(joined) <= len(parts)
    if raw:
        assert (raw[0][1].start, raw[-1][1].end) == (joined[0].start, joined[-1].end)
    assert all(before.end <= after.start for before, after in pairwise(joined))


# --------------------------------------------------------------------------- what goes into and out of the model


@dataclass
class ScriptedWhisper:
    """Stands in for a loaded Whisper: says a script, and remembers what it was asked."""

    script: list[list[tuple[str, float, float]]] = field(default_factory=list)
    heard: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    detections: list[int] = field(default_factory=list)

    def detect_language(self, audio: Samples, **_: object) -> tuple[str, float, list]:
        """Portuguese, fairly sure."""
        self.detections.append(len(audio))
        return "pt", 0.75, []

    def transcribe(self, audio: Samples, **options: object) -> tuple[list[WhisperSegment], SimpleNamespace]:
        """One segment for each list of the script."""
        self.heard.append((len(audio), options))
        return [_whisper_segment(held) for held in self.script], SimpleNamespace()


def _whisper_segment(held: Sequence[tuple[str, float, float]]) -> WhisperSegment:
    return WhisperSegment(
        id=0,
        seek=0,
        start=held[0][1] if held else 0.0,
        end=held[-1][2] if held else 0.0,
        text="".join(text for text, _, _ in held),
        tokens=[],
        avg_logprob=-0.3,
        compression_ratio=1.1,
        no_speech_prob=0.02,
        words=[WhisperWord(start, end, text, 0.8) for text, start, end in held],
        temperature=None,
    )


def silence(channels: int = 1, seconds: float = 30.0) -> Samples:
    """What the scripted recogniser need not hear."""
    return np.zeros((channels, round(seconds * MODEL_SAMPLING_RATE)), dtype=np.float32)


def recognized(whisper: ScriptedWhisper, *regions: tuple[Region, ...], language: str | None = "en") -> Recognition:
    """A call with these speech regions on its channels."""
    recognizer = Recognizer(whisper, RecognizerSettings())
    return recognizer.recognize(silence(len(regions)), regions, language)


def test_times_are_those_of_the_call() -> None:
    """The recogniser hears speech without the silence between; words come back where they were said."""
    whisper = ScriptedWhisper([[(" one", 0.5, 1.0), (" two", 2.5, 2.9)], [(" three", 3.1, 3.5)]])
    found = recognized(whisper, (region(1.0, 3.0), region(10.0, 12.0)))
    held = [(item.text, item.start, item.end) for part in found.segments for item in part.words]
    assert [("one", 1.5, 2.0), ("two", 10.5, 10.9), ("three", 11.1, 11.5)] == held
    assert [(1.5, 10.9), (11.1, 11.5)] == [(part.start, part.end) for part in found.segments]
    assert [4 * MODEL_SAMPLING_RATE] == [samples for samples, _ in whisper.heard]


def test_a_word_over_a_cut_lies_where_its_middle_is() -> None:
    """Both ends of a word are in one region: it never spans the silence that was taken out."""
    whisper = ScriptedWhisper([[(" early", 1.7, 2.1), (" late", 1.9, 2.4)]])
    (part,) = recognized(whisper, (region(1.0, 3.0), region(10.0, 12.0))).segments
    assert [(2.7, 3.1), (9.9, 10.4)] == [(item.start, item.end) for item in part.words]


def test_channels_are_heard_apart_and_ordered_together() -> None:
    """Each channel with speech is heard once; segments of all come out by start, with their channel."""
    whisper = ScriptedWhisper([[(" word", 0.5, 1.0)]])
    found = recognized(whisper, (region(5.0, 8.0),), (), (region(2.0, 4.0),))
    assert [(2, 2.5), (0, 5.5)] == [(part.channel, part.start) for part in found.segments]
    assert [3 * MODEL_SAMPLING_RATE, 2 * MODEL_SAMPLING_RATE] == [samples for samples, _ in whisper.heard]


def test_a_given_language_is_not_detected() -> None:
    """What is known is used, and has no probability."""
    whisper = ScriptedWhisper([[(" word", 0.5, 1.0)]])
    found = recognized(whisper, (region(0, 3),), language="de")
    assert ("de", None, [], "de") == (
        found.language,
        found.language_probability,
        whisper.detections,
        whisper.heard[0][1]["language"],
    )


def test_the_language_is_detected_once_for_the_call() -> None:
    """All channels' speech decides together, and all are decoded in it."""
    whisper = ScriptedWhisper([[(" word", 0.5, 1.0)]])
    found = recognized(whisper, (region(0, 3),), (region(4, 6),), language=None)
    assert ("pt", 0.75) == (found.language, found.language_probability)
    assert [5 * MODEL_SAMPLING_RATE] == whisper.detections
    assert ["pt", "pt"] == [options["language"] for _, options in whisper.heard]


@pytest.mark.parametrize("regions", [((),), ((), ())])
def test_without_speech_the_model_is_not_asked(regions: tuple[tuple[Region, ...], ...]) -> None:
    """Silence makes Whisper invent; so it does not hear any."""
    whisper = ScriptedWhisper([[(" Thank you for watching!", 0.5, 1.0)]])
    assert Recognition((), None, None) == recognized(whisper, *regions, language=None)
    assert ([], []) == (whisper.heard, whisper.detections)


def test_segments_without_words_are_left_out() -> None:
    """A segment of nothing, or of white space, is no segment."""
    whisper = ScriptedWhisper([[], [(" ", 0.1, 0.2)], [(" yes", 0.5, 1.0), (" ", 1.0, 1.1)]])
    (part,) = recognized(whisper, (region(0, 3),)).segments
    assert ["yes"] == [item.text for item in part.words]
    assert (-0.3, 0.02, 1.1, 0.0) == (part.avg_logprob, part.no_speech_prob, part.compression_ratio, part.temperature)


def test_settings_reach_the_decoder() -> None:
    """How to decode is what the settings say."""
    whisper = ScriptedWhisper([[(" word", 0.5, 1.0)]])
    recognizer = Recognizer(whisper, RecognizerSettings(beam_size=2, condition_on_previous_text=True))
    recognizer.recognize(silence(), [(region(0, 3),)], "en")
    options = whisper.heard[0][1]
    assert (2, True, True, False) == (
        options["beam_size"],
        options["condition_on_previous_text"],
        options["word_timestamps"],
        options["vad_filter"],
    )


def test_channels_and_regions_must_fit() -> None:
    """A channel without its regions is a mistake of ours, and is not passed over."""
    with pytest.raises(ValueError, match="shorter"):
        Recognizer(ScriptedWhisper(), RecognizerSettings()).recognize(silence(2), [(region(0, 1),)], "en")


# ------------------------------------------------------------------------------------------------- a real model


def heard(path: str, seconds: float) -> tuple[PreparedAudio, list[tuple[Region, ...]]]:
    """The beginning of a demo call, prepared, and its speech."""
    audio, source = decode(ARCHIVE / path, 3600)
    short = type(audio)(audio.samples[:, : round(seconds * audio.sampling_rate)], audio.sampling_rate)
    call = prepare(short, source, AudioSettings())
    return call, [speech_regions(channel, VadSettings()) for channel in call.audio.samples]


@pytest.fixture(scope="module")
def call() -> tuple[PreparedAudio, list[tuple[Region, ...]]]:
    """The first two turns of demo-0001."""
    return heard("05/demo-0001.wav", 10.0)


@pytest.fixture(scope="module")
def recognition(models: Models, call: tuple[PreparedAudio, list[tuple[Region, ...]]]) -> Recognition:
    """What the starter model makes of it."""
    return models.recognizer.recognize(call[0].audio.samples, call[1])


def words_of(found: Recognition) -> list[Word]:
    """Every word in order."""
    return [item for part in found.segments for item in part.words]


def test_a_real_call_is_understood(recognition: Recognition) -> None:
    """English is recognised, and the words are those that were said."""
    assert "en" == recognition.language
    assert recognition.language_probability > 0.8
    text = " ".join(item.text for item in words_of(recognition)).lower()
    assert "thank you for calling" in text
    assert "my last invoice" in text


def test_real_words_lie_in_speech(recognition: Recognition, call: tuple[PreparedAudio, list]) -> None:
    """Words lie inside the speech regions and the call, in order, with sane times and probabilities."""
    held, (regions,) = words_of(recognition), call[1]
    assert all(0.0 <= item.start <= item.end <= call[0].duration_s for item in held)
    assert all(before.start <= after.start for before, after in pairwise(held))
    assert all(any(one.start <= (item.start + item.end) / 2 <= one.end for one in regions) for item in held)
    assert all(0.0 < item.probability <= 1.0 for item in held)
    assert all(item.text == item.text.strip() != "" for item in held)
    assert all((part.words[0].start, part.words[-1].end) == (part.start, part.end) for part in recognition.segments)
    assert {0} == {part.channel for part in recognition.segments}


def test_recognising_again_gives_the_same(
    models: Models, recognition: Recognition, call: tuple[PreparedAudio, list[tuple[Region, ...]]]
) -> None:
    """The same model and the same sound give the same words at the same times."""
    assert recognition == models.recognizer.recognize(call[0].audio.samples, call[1])


def test_a_silent_call_gives_nothing(models: Models) -> None:
    """The demo's call of line noise and hum has no words, and no language."""
    call, regions = heard("13/demo-0006.wav", 24.0)
    assert [()] == regions
    assert Recognition((), None, None) == models.recognizer.recognize(call.audio.samples, regions)
