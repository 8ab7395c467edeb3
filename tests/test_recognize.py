"""Speech to words: what goes into and out of the model, and real calls through the starter models, in any batch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from builders import region
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SECOND, demo, scratch

from tasks.batches import Batches
from tasks.calibration import Calibration
from tasks.errors import DeviceError, ProcessingError
from tasks.heard import CallSpeech, ChannelSpeech
from tasks.models import Models
from tasks.recognize import Recognizer
from tasks.records import CallHints, Recognition, Region, Samples, Word
from tasks.setting_groups import RecognizerSettings, VadSettings
from tasks.tracks import Track
from tasks.vad import find_speech
from tasks.whisper import WINDOW_FRAMES, Decoded, Decoding, Encoded, Piece, Spectrum

# ------------------------------------------------------------------------------------------------- a scripted model


@dataclass
class ScriptedWhisper:
    """Stands in for a loaded Whisper. Its encoder tells chunks apart by their first sample and their length.

    It says `script` of every chunk, or one word that names the chunk; `odds` of every chunk, or English. `fails` raises
    for a batch of encoded chunks that it does not like.
    """

    script: Callable[[Encoded], list[tuple[str, float, float]]] | None = None
    odds: Callable[[Encoded], dict[str, float]] = lambda _: {"en": 0.9, "de": 0.1}
    fails: Callable[[Sequence[Encoded]], None] = lambda _: None
    batches: list[int] = field(default_factory=list)
    decodings: list[Decoding] = field(default_factory=list)
    hot_words: list[tuple[str, ...]] = field(default_factory=list)
    avg_logprob: float = -0.3
    no_speech_prob: float = 0.02
    detected: int = 0
    windows: list[int] = field(default_factory=list)

    def spectrum(self, samples: Samples, frames: int = WINDOW_FRAMES) -> Spectrum:
        """In every frame, which sound it is, how long, and in what window."""
        return np.tile(np.array([[samples[0]], [len(samples) / SECOND], [frames]], dtype=np.float32), frames)

    def encode(self, spectra: Sequence[Spectrum]) -> list[Encoded]:
        """The same, for every two frames; spectra of a batch must be of one length."""
        self.windows += [spectrum.shape[1] for spectrum in np.stack(spectra)]
        self.fails([spectrum[:, 0] for spectrum in spectra])
        return [spectrum[:, ::2].T for spectrum in spectra]

    def languages(self, encoded: Sequence[Encoded]) -> list[dict[str, float]]:
        """As scripted."""
        self.detected += len(encoded)
        return [self.odds(one[0]) for one in np.stack(encoded)]

    def prompt(self, language: str, decoding: Decoding, hot_words: Sequence[str] = ()) -> tuple[int, ...]:
        """As long as there are hot words."""
        self.hot_words.append(tuple(hot_words))
        return (len(language), *range(len(hot_words)), int(decoding.timestamps))

    def decode(
        self, encoded: Sequence[Encoded], prompts: Sequence[tuple[int, ...]], decoding: Decoding
    ) -> list[Decoded]:
        """As scripted; prompts of a batch must be of one length."""
        assert 1 == len({(len(prompt), one.shape) for prompt, one in zip(prompts, encoded, strict=True)})
        self.batches.append(len(encoded))
        self.decodings.append(decoding)
        return [
            Decoded((1,), "".join(text for text, _, _ in self._said(one[0])), self.avg_logprob, self.no_speech_prob)
            for one in encoded
        ]

    def align(
        self, encoded: Sequence[Encoded], decoded: Sequence[Decoded], frames: Sequence[int], language: str
    ) -> list[list[Piece]]:
        """As scripted."""
        del decoded, language
        assert all(abs(float(one[0][1]) * 100 - held) <= 1 for one, held in zip(np.stack(encoded), frames, strict=True))
        return [
            [Piece(text, start, end, 0.8) for text, start, end in self._said(one[0]) if text.strip()] for one in encoded
        ]

    def _said(self, encoded: Encoded) -> list[tuple[str, float, float]]:
        if self.script is not None:
            return self.script(encoded)
        return [(f" {encoded[0]:g}", 0.1, min(0.4, float(encoded[1])))]


@cache
def numbered(seconds: int) -> Path:
    """A track whose every sample is the hundredth of a second that it lies in."""
    path = scratch() / f"numbered-{seconds}.f32"
    np.repeat(np.arange(100 * seconds, dtype=np.float32), SECOND // 100).tofile(path)
    return path


def channel(*regions: Region, voices: Iterable[Region] | None = None, seconds: int = 300) -> ChannelSpeech:
    """A channel with these speech regions; a voice is heard in the first second of each unless it is said where."""
    track = Track(numbered(seconds), seconds * SECOND)
    heard = [Region(one.start, min(one.start + 1, one.end)) for one in regions] if voices is None else voices
    return ChannelSpeech(track, regions, tuple(heard))


def recognizer_of(whisper: ScriptedWhisper, batches: Batches | None = None, **options: object) -> Recognizer:
    """A recogniser with a scripted model."""
    return Recognizer(whisper, RecognizerSettings(**options), batches)


def recognized(whisper: ScriptedWhisper, *channels: ChannelSpeech, hints: CallHints | None = None) -> Recognition:
    """One call, recognised."""
    (found,) = recognizer_of(whisper).recognize([CallSpeech(channels, hints or CallHints())])
    assert isinstance(found, Recognition)
    return found


def said(*words: tuple[str, float, float]) -> Callable[[Encoded], list[tuple[str, float, float]]]:
    """The same of every chunk."""
    return lambda _: list(words)


def test_windows_are_as_long_as_chunks_and_settings_say() -> None:
    """Chunks of like windows share a batch; the setting has the last word; a model nobody measured hears whole ones."""
    calls = [CallSpeech((channel(region(0.0, length)),), CallHints("en")) for length in (3.0, 20.0, 4.0, 25.0, 2.5)]
    for measured_s, setting, windows, batches in (
        (6.0, None, [3000, 2600, 600, 600, 600], [1, 1, 3]),
        (6.0, 30.0, [3000] * 5, [5]),
        (30.0, None, [3000] * 5, [5]),
        (30.0, 14.0, [3000, 2600, 1400, 1400, 1400], [1, 1, 3]),
    ):
        whisper = ScriptedWhisper()
        chosen = RecognizerSettings(least_window_s=setting)
        recognizer = Recognizer(whisper, chosen, Batches(8), least_window_s=measured_s)
        assert [] == [found for found in recognizer.recognize(calls) if isinstance(found, Exception)]
        # What follows are second chances: one word is little for so long a chunk.
        assert (windows, batches) == (whisper.windows[: len(calls)], whisper.batches[: len(batches)])


@pytest.mark.parametrize(
    ("short", "whole", "again"),
    [
        ("we are open all day we are open all day", "we are open all day", True),
        ("we are open all day", "anything else", False),
        ("no no no no no no no no no", "no no", True),
    ],
    ids=["said twice", "said once", "suspicious"],
)
def test_what_a_short_window_garbles_is_heard_in_a_whole_one(short: str, whole: str, again: bool) -> None:
    """What is heard there stands; it is counted, and decoded in no other way unless it is suspicious still."""

    def script(encoded: Encoded) -> list[tuple[str, float, float]]:
        text = (whole if encoded[2] == WINDOW_FRAMES else short).split()
        return [(f" {one}", 0.22 * index, 0.22 * index + 0.22) for index, one in enumerate(text)]

    whisper = ScriptedWhisper(script)
    recognizer = Recognizer(whisper, RecognizerSettings(), Batches(8), least_window_s=6.0)
    speech = CallSpeech((channel(region(0.0, 4.0), voices=[region(0.0, 2.2)]),), CallHints("en"))
    (found,) = recognizer.recognize([speech])
    assert [whole if again else short] == [part.text for part in found.segments]
    assert ([600, 3000] if again else [600]) == whisper.windows
    assert (int(again), 0) == (found.counts.retried, found.counts.suspicious)


# --------------------------------------------------------------------------------------------- one call, one channel


def test_times_are_those_of_the_call() -> None:
    """The recogniser hears speech without the silence between; words come back where they were said."""
    whisper = ScriptedWhisper(said((" one", 0.5, 1.0), (" two", 2.5, 2.9), (" three", 3.1, 3.5)))
    (part,) = recognized(whisper, channel(region(1.0, 3.0), region(10.0, 12.0))).segments
    assert [("one", 1.64, 2.14), ("two", 10.64, 11.04), ("three", 11.24, 11.64)] == [
        (item.text, item.start, item.end) for item in part.words
    ]
    assert (0, 1.64, 11.64, "one two three", "en") == (part.channel, part.start, part.end, part.text, part.language)
    assert (-0.3, 0.02) == (part.avg_logprob, part.no_speech_prob)


def test_channels_are_heard_apart_and_ordered_together() -> None:
    """Segments of all channels come out by start, with their channel; one without speech has none."""
    found = recognized(ScriptedWhisper(), channel(region(5.0, 8.0)), channel(), channel(region(2.0, 4.0)))
    assert [(2, "200"), (0, "500")] == [(part.channel, part.text) for part in found.segments]


def test_without_speech_the_model_is_not_asked() -> None:
    """Silence makes Whisper invent; so it does not hear any."""
    whisper = ScriptedWhisper()
    assert Recognition((), None, None) == recognized(whisper, channel(), channel())
    assert ([], 0) == (whisper.batches, whisper.detected)


def test_text_without_aligned_words_is_not_lost() -> None:
    """Where the aligner finds no words, the text is one word of the chunk."""
    whisper = ScriptedWhisper(said((" hm", 0.5, 1.0)))
    whisper.align = lambda encoded, *_: [[] for _ in encoded]  # type: ignore[method-assign]
    (part,) = recognized(whisper, channel(region(1.0, 3.0))).segments
    (word,) = part.words
    assert ("hm", 1.0, 3.0) == (word.text, word.start, word.end)
    assert pytest.approx(np.exp(-0.3)) == word.probability


def test_nothing_said_is_no_segment() -> None:
    """A chunk that the model finds no words in has a count, and no segment."""
    found = recognized(ScriptedWhisper(said()), channel(region(1.0, 1.4)))
    assert ((), None, 1) == (found.segments, found.language, found.counts.chunks)


def test_what_is_written_where_nobody_speaks_is_set_aside() -> None:
    """It is in no segment and in no language share; the text is kept with its reason, and counted."""
    whisper = ScriptedWhisper(said((" Thank", 0.1, 0.3), (" you.", 0.3, 0.5)))
    found = recognized(whisper, channel(region(1.0, 3.0), voices=()))
    assert ((), None, {}) == (found.segments, found.language, found.languages)
    (aside,) = found.set_aside
    assert ("Thank you.", "no_voice", 1.0, 3.0, 0) == (
        aside.text, aside.reason, aside.start, aside.end, aside.channel
    )  # fmt: skip
    assert 2 == found.counts.set_aside_words


def test_probabilities_are_calibrated() -> None:
    """Words carry what the calibration makes of the model's probabilities; `uncalibrated` leaves them."""
    calibration = Calibration(((0.0, 0.5), (1.0, 1.0)))
    recognizer = Recognizer(ScriptedWhisper(), RecognizerSettings(), calibration=calibration)
    call = CallSpeech((channel(region(0, 3)),))
    for one, expected in ((recognizer, 0.9), (recognizer.uncalibrated(), 0.8)):
        (found,) = one.recognize([call])
        assert [pytest.approx(expected)] == [word.probability for word in found.segments[0].words]


def test_settings_and_hints_reach_the_decoder() -> None:
    """The beam, and hot words of the settings and of the call."""
    whisper = ScriptedWhisper()
    recognizer = recognizer_of(whisper, beam_size=2, hot_words=("Halden",))
    calls = [CallSpeech((channel(region(0, 3)),), CallHints(hot_words=words)) for words in ((), ("Brightwell",))]
    recognizer.recognize(calls)
    assert {Decoding(beam_size=2)} == set(whisper.decodings)
    assert [("Halden",), ("Halden", "Brightwell")] == whisper.hot_words
    assert [1, 1] == whisper.batches, "prompts of different length are not mixed"


# ---------------------------------------------------------------------------------------------------- the languages


def by_start(changes: dict[float, str]) -> Callable[[Encoded], dict[str, float]]:
    """Odds of a call that is in these languages from these seconds on."""

    def odds(encoded: Encoded) -> dict[str, float]:
        spoken = [language for start, language in changes.items() if encoded[0] / 100 >= start][-1]
        return {language: 0.9 if language == spoken else 0.1 for language in {*changes.values(), "en"}}

    return odds


def test_a_given_language_is_not_detected() -> None:
    """What is known is used, and has no probability."""
    whisper = ScriptedWhisper()
    found = recognized(whisper, channel(region(0, 3)), hints=CallHints(language="de"))
    assert ("de", None, {"de": 1.0}, 0) == (
        found.language, found.language_probability, found.languages, whisper.detected
    )  # fmt: skip
    assert "de" == found.segments[0].language


def test_the_language_is_that_of_most_of_the_speech() -> None:
    """With the mean of the model's own probabilities."""
    found = recognized(ScriptedWhisper(odds=by_start({0: "pt"})), channel(region(0, 3)), channel(region(4, 6)))
    assert ("pt", pytest.approx(0.9), {"pt": 1.0}) == (found.language, found.language_probability, found.languages)


def test_a_call_that_changes_its_language() -> None:
    """A chunk that the change lies in is heard again, region by region, and parted there."""
    regions = [region(start, start + 9) for start in range(0, 200, 10)]
    found = recognized(ScriptedWhisper(odds=by_start({0: "en", 110: "de"})), channel(*regions))
    spoken = {
        language: [round(part.start - 0.1) for part in found.segments if part.language == language]
        for language in ("en", "de")
    }
    assert max(spoken["en"]) < 110 <= min(spoken["de"])
    assert 110 in spoken["de"], "a chunk begins where the language does"
    assert {"en": pytest.approx(0.55), "de": pytest.approx(0.45)} == found.languages
    assert "en" == found.language


def test_only_allowed_languages() -> None:
    """Detection chooses among those that the hints allow."""
    odds = {"nn": 0.6, "de": 0.3, "en": 0.1}
    hints = CallHints(languages=("de", "en"))
    found = recognized(ScriptedWhisper(odds=lambda _: odds), channel(region(0, 30)), hints=hints)
    assert ("de", pytest.approx(0.75)) == (found.language, found.language_probability)


# --------------------------------------------------------------------------------------------------- many calls


def disjoint(given: list[tuple[int, int]]) -> tuple[Region, ...]:
    """Ordered, disjoint regions in so many hundredths of a second."""
    found: list[Region] = []
    for start, length in sorted(given):
        begin = max(start, round(100 * found[-1].end) + 1 if found else 0)
        if begin + 20 < min(begin + length, 29_900):
            found.append(Region(begin / 100, min(begin + length, 29_900) / 100))
    return tuple(found)


speech = st.lists(st.tuples(st.integers(0, 29_000), st.integers(20, 4000)), max_size=6).map(disjoint)


@given(
    calls=st.lists(st.lists(speech, min_size=1, max_size=2), max_size=6),
    size=st.integers(1, 9),
    workers=st.integers(1, 2),
    rest=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_packing_loses_and_mixes_nothing(
    calls: list[list[tuple[Region, ...]]], size: int, workers: int, rest: Random
) -> None:
    """Whatever else is in the pile, and however large batches are, each call gets what it gets alone."""
    speeches = [CallSpeech(tuple(channel(*regions) for regions in held)) for held in calls]
    alone = [recognizer_of(ScriptedWhisper(), Batches(1)).recognize([call])[0] for call in speeches]
    order = list(range(len(calls)))
    rest.shuffle(order)
    found = recognizer_of(ScriptedWhisper(), Batches(size, workers)).recognize([speeches[index] for index in order])
    assert [alone[index] for index in order] == found
    for call, one in zip(speeches, alone, strict=True):
        spoken = sum(region.duration_s for source in call.channels for region in source.regions)
        assert (one.counts.chunks > 0) == (spoken > 0)
        assert one.counts.chunks >= spoken / 28
        assert one.counts.chunks == len(one.segments) + len(one.set_aside)


def test_batches_are_full() -> None:
    """Short calls share batches: sixteen calls of one chunk each make two batches of eight."""
    whisper = ScriptedWhisper()
    recognizer_of(whisper, Batches(8)).recognize([CallSpeech((channel(region(0, 7)),)) for _ in range(16)])
    assert [8, 8] == whisper.batches


def test_what_fails_alone_fails_its_call_and_no_other() -> None:
    """The error is told for that call; the others have what they have without it."""

    def fails(encoded: Sequence[Encoded]) -> None:
        if any(one[0] == 500 for one in encoded):
            message = "no such kernel"
            raise RuntimeError(message)

    calls = [CallSpeech((channel(region(start, start + 3)),)) for start in (0, 5, 10)]
    first, second, third = recognizer_of(ScriptedWhisper(fails=fails)).recognize(calls)
    assert isinstance(second, RuntimeError)
    assert ["0", "1000"] == [one.segments[0].text for one in (first, third)]


def test_a_language_that_the_model_does_not_know_fails_its_call(models: Models) -> None:
    """Named by a hint or allowed alone: the error says which it is, and the other calls have their words."""
    good = heard("05/demo-0001.wav", 4.0)
    calls = [replace(good, hints=hints) for hints in (CallHints("xx"), CallHints(languages=("xx",)), CallHints("en"))]
    one, other, third = models.recognizer.recognize(calls)
    for failed in (one, other):
        assert isinstance(failed, ProcessingError)
        assert "does not know the language 'xx'" in failed.message
    assert "thank you for calling" in " ".join(part.text for part in third.segments).lower()


def test_sound_that_cannot_be_read_fails_its_call(tmp_path: Path) -> None:
    """A track that is gone is its own call's failure."""
    gone = ChannelSpeech(Track(tmp_path / "gone", 10 * SECOND), (region(0, 3),), ())
    first, second = recognizer_of(ScriptedWhisper()).recognize(
        [CallSpeech((gone,)), CallSpeech((channel(region(5, 8)),))]
    )
    assert isinstance(first, OSError)
    assert "500" == second.segments[0].text


def test_memory_that_runs_out_halves_the_batch() -> None:
    """Batches become as small as they must, all calls are recognised, and it is recorded."""

    def fails(encoded: Sequence[Encoded]) -> None:
        if len(encoded) > 3:
            message = "CUDA failed with error out of memory"
            raise RuntimeError(message)

    batches = Batches(16)
    calls = [CallSpeech((channel(region(start, start + 3)),)) for start in range(0, 160, 5)]
    found = recognizer_of(ScriptedWhisper(fails=fails), batches).recognize(calls)
    assert [str(start * 100) for start in range(0, 160, 5)] == [one.segments[0].text for one in found]
    assert (2, 3) == (batches.size, batches.halvings)


def test_no_memory_at_all_is_the_devices_fault() -> None:
    """A device that has no room for one chunk stops the run."""

    def fails(_: Sequence[Encoded]) -> None:
        message = "CUDA out of memory"
        raise RuntimeError(message)

    with pytest.raises(DeviceError, match="no memory for a batch of one chunk"):
        recognizer_of(ScriptedWhisper(fails=fails)).recognize([CallSpeech((channel(region(0, 3)),))])


def test_a_long_call_is_heard_in_loads() -> None:
    """Of hours of speech, what the encoder made is held for a part at a time; nothing is lost between parts."""
    regions = [region(start, start + 25) for start in range(0, 4 * 3600, 30)]
    held: list[int] = []
    whisper = ScriptedWhisper()
    recognizer = recognizer_of(whisper)
    encode = recognizer.encode
    recognizer.encode = lambda load, pool: held.append(len(load)) or encode(load, pool)  # type: ignore[method-assign]
    (found,) = recognizer.recognize([CallSpeech((channel(*regions, seconds=4 * 3600),))])
    assert len(regions) == len(found.segments)
    assert max(held) <= 64
    assert all(before.start < after.start for before, after in pairwise(found.segments))


# ------------------------------------------------------------------------------------------------- a real model


def heard(path: str, seconds: float | None = None, hints: CallHints | None = None) -> CallSpeech:
    """A demo call, or its beginning, as the recogniser gets it."""
    call = demo(path, seconds)
    speech = [find_speech(track, VadSettings()) for track in call.tracks]
    channels = zip(call.tracks, speech, strict=True)
    return CallSpeech(
        tuple(ChannelSpeech(track, one.regions, one.voices) for track, one in channels), hints or CallHints()
    )


def words_of(found: Recognition) -> list[Word]:
    """Every word in order."""
    return [item for part in found.segments for item in part.words]


@pytest.fixture(scope="module")
def calls() -> list[CallSpeech]:
    """Beginnings of three demo calls, one of them in two channels, and one without speech."""
    return [
        heard("05/demo-0001.wav", 10.0),
        heard("06/demo-0002.wav", 14.0, CallHints(hot_words=("Brightwell",))),
        heard("13/demo-0006.wav", 24.0),
        heard("13/demo-0005.flac", 12.0, CallHints(language="en")),
    ]


@pytest.fixture(scope="module")
def alone(models: Models, calls: list[CallSpeech]) -> list[Recognition]:
    """What the starter model makes of each of them alone."""
    return [models.recognizer.recognize([call])[0] for call in calls]


def test_a_real_call_is_understood(alone: list[Recognition]) -> None:
    """English is recognised, and the words are those that were said."""
    found = alone[0]
    assert "en" == found.language
    assert found.language_probability > 0.8
    text = " ".join(item.text for item in words_of(found)).lower()
    assert "thank you for calling" in text
    assert "my last invoice" in text


def test_real_words_lie_in_speech(alone: list[Recognition], calls: list[CallSpeech]) -> None:
    """Words lie inside the speech regions of their channel, in order, with sane times and probabilities."""
    for found, call in zip(alone, calls, strict=True):
        for part in found.segments:
            regions = call.channels[part.channel].regions
            assert (part.words[0].start, part.words[-1].end) == (part.start, part.end)
            assert all(before.end <= after.start for before, after in pairwise(part.words))
            for item in part.words:
                assert item.start <= item.end
                assert any(one.start <= item.start and item.end <= one.end + 0.001 for one in regions)
                assert 0.0 < item.probability <= 1.0
                assert item.text == item.text.strip() != ""


@pytest.mark.parametrize(
    ("size", "workers"), [(3, 1), *(pytest.param(*one, marks=pytest.mark.long) for one in ((1, 2), (8, 2)))]
)
def test_real_calls_do_not_depend_on_their_batches(
    models: Models, calls: list[CallSpeech], alone: list[Recognition], size: int, workers: int
) -> None:
    """The same words, times and probabilities to the last bit, whatever else is in the batch."""
    original = models.recognizer
    recognizer = Recognizer(
        original._whisper,
        original._settings,
        Batches(size, workers),
        size,
        original.calibration,
        original._least_window_s,
    )
    order = [3, 1, 0, 2, 1]
    assert [alone[index] for index in order] == recognizer.recognize([calls[index] for index in order])


def test_a_silent_call_gives_nothing(alone: list[Recognition]) -> None:
    """The demo's call of line noise and hum has no words, and no language."""
    assert Recognition((), None, None) == alone[2]


def test_one_channel_alone(models: Models, calls: list[CallSpeech], alone: list[Recognition]) -> None:
    """`transcribe` gives the segments of one channel, named as asked."""
    source = calls[0].channels[0]
    found = models.recognizer.transcribe(source.track, source.regions, 3, None)
    assert {3} == {part.channel for part in found}
    text = " ".join(part.text for part in found)
    assert " ".join(part.text for part in alone[0].segments) == text
