"""Speech to words: joining pieces, windows, times in the call, and a real call through the starter models."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from builders import region, word
from faster_whisper.transcribe import Segment as WhisperSegment
from faster_whisper.transcribe import Word as WhisperWord
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SECOND, demo, noise, scratch, silence, track

from tasks.attribute import merge
from tasks.audio import PreparedAudio
from tasks.models import Models
from tasks.recognize import CUT_WITHIN_S, WINDOW_S, Recognizer, first_s, join_pieces, ordered, speech_windows
from tasks.records import Recognition, Region, Samples, Word
from tasks.setting_groups import RecognizerSettings, VadSettings
from tasks.tracks import Track
from tasks.vad import speech_regions, total_s

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


# ------------------------------------------------------------------------------------------------------- windows

HEARD_S = 120


@pytest.fixture(scope="module")
def murmur() -> Track:
    """Two minutes of noise that swells and fades in no order."""
    levels = np.random.default_rng(5).uniform(0.01, 1.0, HEARD_S * 50)
    return track((np.repeat(levels, SECOND // 50) * noise(1, HEARD_S)).astype(np.float32))


def disjoint(numbers: list[tuple[int, int]]) -> tuple[Region, ...]:
    """Ordered, disjoint regions in so many hundredths of a second."""
    return tuple(merge(Region(start / 100, min(start + length, 100 * HEARD_S) / 100) for start, length in numbers))


speech = st.lists(
    st.tuples(st.integers(0, 100 * HEARD_S - 50), st.integers(1, 200) | st.integers(1, 6000)), max_size=8
).map(disjoint)


@given(regions=speech, longest_s=st.sampled_from([1.0, 5.0, 12.5, 30.0, 50.0, 500.0]))
@settings(max_examples=200, deadline=None)
def test_windows_hold_all_speech_once(murmur: Track, regions: tuple[Region, ...], longest_s: float) -> None:
    """Every sample once and in order, no window longer than the limit, and nothing cut or parted without need."""
    windows = list(speech_windows(murmur, regions, longest_s))
    pieces = [piece for window in windows for piece in window]
    joined = [murmur.read_region(piece) for piece in pieces]
    assert np.array_equal(
        *(np.concatenate([silence(0.0), *map(murmur.read_region, held)]) for held in (regions, pieces))
    )
    assert all(len(samples) > 0 for samples in joined)
    assert all(total_s(window) <= longest_s + 1e-9 for window in windows)
    assert all(total_s(window) + after[0].duration_s > longest_s for window, after in pairwise(windows))
    whole = [region for region in regions if region.duration_s <= longest_s]
    assert whole == [piece for piece in pieces if piece in whole]


@given(regions=speech, longest_s=st.sampled_from([5.0, 12.5, 30.0, 50.0]))
@settings(max_examples=100, deadline=None)
def test_cuts_are_at_quiet_moments(murmur: Track, regions: tuple[Region, ...], longest_s: float) -> None:
    """A cut is in the middle of the quietest tenth of a second among the last of what fits, and in no other place."""
    within_s = min(CUT_WITHIN_S, longest_s / 2)
    for whole in regions:
        pieces = [piece for window in speech_windows(murmur, (whole,), longest_s) for piece in window]
        assert (whole.start, whole.end) == (pieces[0].start, pieces[-1].end)
        for piece, after in pairwise(pieces):
            first, last = piece.start + longest_s - within_s, piece.start + longest_s
            assert first < piece.end == after.start < last < whole.end, "there was need"
            tenths = murmur.read_region(Region(first, last))
            powers = np.square(tenths[: len(tenths) // 1600 * 1600].reshape(-1, 1600)).mean(axis=1)
            assert np.argmin(powers) == round((piece.end - first) * 10 - 0.5)


def test_a_pause_is_where_speech_is_cut() -> None:
    """Of 25 seconds without a region's end, no more than 10 at a time: cut in the pauses that there are."""
    sound = noise(1, 25.0)
    for pause_s in (3.0, 7.0, 16.0, 16.5):
        sound[round(pause_s * SECOND) : round((pause_s + 0.3) * SECOND)] = 0
    (one, two, three) = [held for (held,) in speech_windows(track(sound), (Region(0, 25),), 10.0)]
    assert 7.0 <= one.end == two.start <= 7.3
    assert 16.0 <= two.end == three.start <= 16.8
    assert 25.0 == three.end


@given(regions=speech, seconds=st.sampled_from([0.01, 1.0, 3.25, 20.0, 1000.0, float("inf")]))
@settings(max_examples=100)
def test_the_first_seconds(regions: tuple[Region, ...], seconds: float) -> None:
    """Regions from the first on, whole but for the last one, until so much speech is found, or all of it."""
    found = first_s(regions, seconds)
    assert pytest.approx(min(seconds, total_s(regions)), abs=1e-9) == total_s(found)
    assert found[:-1] == regions[: max(len(found) - 1, 0)]
    if found:
        last = regions[len(found) - 1]
        assert last.start == found[-1].start <= found[-1].end <= last.end
    if seconds >= total_s(regions) + 0.001:
        assert regions == found


def test_no_seconds_no_regions() -> None:
    """Nothing of nothing, and nothing of something."""
    assert ((), ()) == (first_s((), 5.0), first_s((Region(1, 2),), 0.0))


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


def unheard(channels: int = 1, seconds: float = 30.0) -> list[Track]:
    """What the scripted recogniser need not hear; on disk there is next to nothing of it."""
    path = scratch() / "silence"
    with path.open("wb") as file:
        file.truncate(4 * round(seconds * SECOND))
    return [Track(path, round(seconds * SECOND))] * channels


def recognize(
    recognizer: Recognizer,
    tracks: Sequence[Track],
    regions: Sequence[tuple[Region, ...]],
    language: str | None = None,
) -> Recognition:
    """A whole call, as the pipeline has it recognised."""
    probability = None
    if language is None:
        language, probability = recognizer.detect_language(tracks, regions)
    segments = [
        segment
        for channel, (track, found) in enumerate(zip(tracks, regions, strict=True))
        for segment in recognizer.transcribe(track, found, channel, language)
    ]
    return Recognition(ordered(segments), language, probability)


def recognized(whisper: ScriptedWhisper, *regions: tuple[Region, ...], language: str | None = "en") -> Recognition:
    """A call with these speech regions on its channels."""
    recognizer = Recognizer(whisper, RecognizerSettings())
    return recognize(recognizer, unheard(len(regions)), regions, language)


def test_times_are_those_of_the_call() -> None:
    """The recogniser hears speech without the silence between; words come back where they were said."""
    whisper = ScriptedWhisper([[(" one", 0.5, 1.0), (" two", 2.5, 2.9)], [(" three", 3.1, 3.5)]])
    found = recognized(whisper, (region(1.0, 3.0), region(10.0, 12.0)))
    held = [(item.text, item.start, item.end) for part in found.segments for item in part.words]
    assert [("one", 1.5, 2.0), ("two", 10.5, 10.9), ("three", 11.1, 11.5)] == held
    assert [(1.5, 10.9), (11.1, 11.5)] == [(part.start, part.end) for part in found.segments]
    assert [4 * SECOND] == [samples for samples, _ in whisper.heard]


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
    assert [3 * SECOND, 2 * SECOND] == [samples for samples, _ in whisper.heard]


def test_long_speech_is_heard_window_by_window() -> None:
    """Ten minutes of speech at a time, with times in the call: those of the window's own regions."""
    whisper = ScriptedWhisper([[(" first", 0.5, 1.0)], [(" last", 298.0, 299.0)]])
    regions = (region(100, 550), region(600, 800), region(900, 1400))
    recognizer = Recognizer(whisper, RecognizerSettings())
    found = recognizer.transcribe(unheard(1, 1500.0)[0], regions, 3, "en")
    assert [450 * SECOND, 200 * SECOND, 500 * SECOND] == [samples for samples, _ in whisper.heard]
    assert [(100.5, 101.0), (398, 399), (600.5, 601), (898, 899), (900.5, 901), (1198, 1199)] == [
        (part.start, part.end) for part in found
    ]
    assert {3} == {part.channel for part in found}
    whisper.heard.clear()
    recognizer.transcribe(unheard(1, 1500.0)[0], (region(10, 1490),), 0, "en")
    assert 1480 * SECOND == sum(samples for samples, _ in whisper.heard)
    assert all((WINDOW_S - CUT_WITHIN_S) * SECOND <= samples <= WINDOW_S * SECOND for samples, _ in whisper.heard[:-1])
    assert 3 == len(whisper.heard)


def test_a_channel_without_speech_has_no_segments() -> None:
    """And nobody asks in which language they would be."""
    whisper = ScriptedWhisper([[(" Thank you for watching!", 0.5, 1.0)]])
    assert ([], []) == (Recognizer(whisper, RecognizerSettings()).transcribe(unheard()[0], (), 0, None), whisper.heard)


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
    assert [5 * SECOND] == whisper.detections
    assert ["pt", "pt"] == [options["language"] for _, options in whisper.heard]


@pytest.mark.parametrize(
    ("regions", "heard_s"),
    [
        ([(region(0, 300),)], 120),
        ([(region(0, 50), region(100, 300))], 120),
        ([(region(0, 300),), (region(0, 300),)], 120),
    ],
)
def test_the_language_is_that_of_the_first_two_minutes(regions: list[tuple[Region, ...]], heard_s: int) -> None:
    """Each channel has its share of them."""
    whisper = ScriptedWhisper()
    found = Recognizer(whisper, RecognizerSettings()).detect_language(unheard(len(regions), 300), regions)
    assert (("pt", 0.75), [heard_s * SECOND]) == (found, whisper.detections)


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
    recognize(recognizer, unheard(), [(region(0, 3),)], "en")
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
        recognize(Recognizer(ScriptedWhisper(), RecognizerSettings()), unheard(2), [(region(0, 1),)], "en")


# ------------------------------------------------------------------------------------------------- a real model


def heard(path: str, seconds: float) -> tuple[PreparedAudio, list[tuple[Region, ...]]]:
    """The beginning of a demo call, prepared, and its speech."""
    call = demo(path, seconds)
    return call, [speech_regions(channel, VadSettings()) for channel in call.tracks]


@pytest.fixture(scope="module")
def call() -> tuple[PreparedAudio, list[tuple[Region, ...]]]:
    """The first two turns of demo-0001."""
    return heard("05/demo-0001.wav", 10.0)


@pytest.fixture(scope="module")
def recognition(models: Models, call: tuple[PreparedAudio, list[tuple[Region, ...]]]) -> Recognition:
    """What the starter model makes of it."""
    return recognize(models.recognizer, call[0].tracks, call[1])


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
    assert recognition == recognize(models.recognizer, call[0].tracks, call[1])


def test_windows_lose_no_real_words(
    models: Models,
    recognition: Recognition,
    call: tuple[PreparedAudio, list[tuple[Region, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Heard a few seconds at a time, cut in its pauses, the call has the same words, at the same times, in order."""
    monkeypatch.setattr("tasks.recognize.speech_windows", partial(speech_windows, longest_s=5.0))
    (track,), (regions,) = call[0].tracks, call[1]
    windows = list(speech_windows(track, regions, 5.0))
    assert len(windows) > 1
    found = recognize(models.recognizer, [track], [regions], "en")
    words, whole = words_of(found), words_of(recognition)
    text = " ".join(item.text for item in words).lower()
    assert "thank you for calling" in text
    assert "my last invoice" in text
    assert abs(len(words) - len(whole)) <= len(whole) // 10
    assert all(before.start <= after.start for before, after in pairwise(words))
    pieces = [piece for window in windows for piece in window]
    assert all(any(one.start <= item.start <= item.end <= one.end + 0.001 for one in pieces) for item in words)
    same = {(item.text.lower(), round(item.start)) for item in words} & {
        (item.text.lower(), round(item.start)) for item in whole
    }
    assert len(same) > 0.7 * len(whole)


def test_a_silent_call_gives_nothing(models: Models) -> None:
    """The demo's call of line noise and hum has no words, and no language."""
    call, regions = heard("13/demo-0006.wav", 24.0)
    assert [()] == regions
    assert Recognition((), None, None) == recognize(models.recognizer, call.tracks, regions)


def test_pieces_around_a_pause_are_no_word() -> None:
    """`7704-31`, a pause, `-2500`: two numbers that Whisper wrote as one, and neither spans the pause."""
    pieces = [(" 7704-31", word("7704-31", 1.0, 2.0)), ("-2500", word("-2500", 8.0, 9.0)), (".5", word(".5", 9.1, 9.3))]
    found = join_pieces(pieces, "en")
    assert [("7704-31", 1.0, 2.0), ("-2500.5", 8.0, 9.3)] == [(one.text, one.start, one.end) for one in found]
