"""The straight line: every call gives one outcome, in order, and no call touches another."""

import io
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import soundfile
from builders import call_ref, failure, planned_call, provenance, segment, word

from tasks.bundles import sha256_of
from tasks.decoding import decode
from tasks.devices import Device
from tasks.diarization_queue import channel_speakers
from tasks.errors import (
    BundleError,
    CallError,
    DeviceError,
    ObjectChanged,
    ObjectVanished,
    StorageRefused,
    StorageUnavailable,
    TooLarge,
)
from tasks.heard import CallSpeech
from tasks.models import Models
from tasks.pipeline import Fetch, process
from tasks.records import (
    CallHints,
    CallRef,
    CopiedAudio,
    Diarization,
    Failure,
    Outcome,
    PlannedCall,
    Recognition,
    Region,
    Samples,
    Segment,
    Turn,
)
from tasks.rows import rows_of
from tasks.settings import Settings, load_settings
from tasks.tracks import Track

ARCHIVE = Path("evaluation/sets/demo/archive/2026/10")
MAX_DURATION_S = 20.0
MAX_BYTES = 1_000_000

# ------------------------------------------------------------------------------------------ recordings and models


@pytest.fixture(scope="module")
def speech() -> Samples:
    """The first turn of demo-0001 at 8 kHz, 5 seconds of one voice."""
    audio, _ = decode(ARCHIVE / "05/demo-0001.wav", 3600)
    return audio.samples[0, : 5 * 8000]


def wav(*channels: Samples) -> bytes:
    """A WAV file at 8 kHz."""
    file = io.BytesIO()
    soundfile.write(file, np.stack(channels, axis=1), 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def silent(seconds: float = 2.0) -> Samples:
    """Digital silence at 8 kHz."""
    return np.zeros(round(8000 * seconds), dtype=np.float32)


def nothing(_: Track) -> None:
    """What stand-ins do before they hear a track."""


@dataclass
class SimpleRecognizer:
    """Stands in for the recogniser: hears one word in the middle of each speech region.

    It is surer of sound with noise reduced by `prefers_denoised`, a log-probability.
    """

    heard: list[tuple[int, tuple[Region, ...], str | None]] = field(default_factory=list)
    before: Callable[[Track], None] = nothing
    prefers_denoised: float = 0.0

    def recognize(self, calls: Sequence[CallSpeech]) -> list[Recognition | Exception]:
        """Each call in turn: English, where anything is said and nothing else is known; an error is its call's own."""
        found: list[Recognition | Exception] = []
        for call in calls:
            try:
                found.append(self._recognition(call))
            except DeviceError:
                raise
            except Exception as error:  # noqa: BLE001  # as the recogniser does, whatever a library raises
                found.append(error)
        return found

    def _recognition(self, call: CallSpeech) -> Recognition:
        segments = [
            segment
            for channel, source in enumerate(call.channels)
            if source.regions
            for segment in self.transcribe(source.track, source.regions, channel, call.hints.language)
        ]
        segments.sort(key=lambda item: item.start)
        if not segments:
            return Recognition((), None, None)
        language = call.hints.language or "en"
        return Recognition(tuple(segments), language, None if call.hints.language else 0.9, {language: 1.0})

    def transcribe(
        self, track: Track, regions: tuple[Region, ...], channel: int, language: str | None
    ) -> list[Segment]:
        """A segment for each region."""
        self.heard.append((channel, regions, language))
        self.before(track)
        sure = self.prefers_denoised if track.path.name.startswith("denoised") else 0.0
        words = [word("hello", (one.start + one.end) / 2) for one in regions]
        return [segment(one, channel=channel, avg_logprob=sure - 0.5) for one in words]


@dataclass
class SimpleDiarizer:
    """Stands in for the diarizer: one speaker all the time, or several, one after the other."""

    count: int = 1
    asked: list[int | None] = field(default_factory=list)
    before: Callable[[Track], None] = nothing

    def diarize(self, track: Track, speakers: int | None = None, fewest: int | None = None) -> Diarization:
        """A turn of each, over equal parts of the call."""
        self.asked.append(speakers or fewest)
        self.before(track)
        part_s = track.duration_s / self.count
        turns = tuple(Turn(one * part_s, (one + 1) * part_s, f"SPEAKER_{one:02d}") for one in range(self.count))
        return Diarization(turns, turns)


def simple_models(recognizer: SimpleRecognizer | None = None, diarizer: SimpleDiarizer | None = None) -> Models:
    """Models of which only what the pipeline uses is there."""
    return Models(
        None, Device("cpu", 0, "a test", "int8"), recognizer or SimpleRecognizer(), diarizer or SimpleDiarizer()
    )


def fetching(recordings: dict[str, bytes | Exception]) -> Fetch:
    """Puts a call's recording into the file, or raises what stands for it."""

    def fetch(call: CallRef, path: Path) -> None:
        recording = recordings[call.call_id]
        if isinstance(recording, Exception):
            raise recording
        path.write_bytes(recording)

    return fetch


def settings_of(**run: object) -> Settings:
    """Small limits, so that tests are."""
    return load_settings(overrides={"archive": {"max_duration_s": MAX_DURATION_S, "max_bytes": MAX_BYTES}, "run": run})


def processed(
    recordings: dict[str, bytes | Exception],
    models: Models | None = None,
    work: Iterable[PlannedCall] | None = None,
    **run: object,
) -> list[Outcome | CopiedAudio]:
    """The outcomes of a call for each recording, in order."""
    planned = [planned_call(name) for name in recordings] if work is None else work
    return list(process(planned, fetching(recordings), models or simple_models(), settings_of(**run)))


def raising(error: Exception, at: int) -> Callable[[Track], None]:
    """Raises at the call of that number, from 1."""
    calls = count(1)

    def step(_: Track) -> None:
        if next(calls) == at:
            raise error

    return step


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call counts as one that fills the scratch disk: piles hold one, and no more are loaded than must be."""
    monkeypatch.setattr("tasks.pipeline.AHEAD_S", 0.0)


# ------------------------------------------------------------------------------------------------- one good call


def test_a_good_call(speech: Samples) -> None:
    """Everything that is known of the recording and found in it is in the outcome."""
    (found,) = processed({"call-1": wav(speech)})
    assert ("transcribed", None, "mono") == (found.kind, found.failure, found.layout)
    assert ("pcm_s16le", "wav", 8000, 1) == (
        found.source.codec,
        found.source.container,
        found.source.sampling_rate,
        found.source.channels,
    )
    assert call_ref("call-1") == found.call
    assert 5.0 == found.duration_s
    assert 64 == len(found.audio_sha256)
    assert ["channels", "resample", "loudness"] == [step.partition("(")[0] for step in found.preprocessing]
    assert found.loudness_lufs < -10
    assert 0.0 == found.clipped_ratio
    (channel,) = found.signals.channels
    assert (0, found.loudness_lufs, 0.0) == (channel.channel, channel.loudness_lufs, channel.clipped_ratio)
    assert channel.snr_db > 20
    assert 3400 <= found.signals.bandwidth_hz <= 4000
    transcript = found.transcript
    assert (["hello"], ("SPEAKER_00",), "en", 0.9) == (
        [item.text for item in transcript.utterances],
        transcript.speakers,
        transcript.language,
        transcript.language_probability,
    )
    assert 3.0 < transcript.quality.speech_s <= 5.0
    assert 1 == transcript.metrics.words
    assert found.timings.load_s > 0
    assert found.timings.vad_s > 0


def test_the_digest_is_of_the_bytes(tmp_path: Path, speech: Samples) -> None:
    """The row names the very bytes that were read."""
    data = wav(speech)
    (tmp_path / "call").write_bytes(data)
    assert [sha256_of(tmp_path / "call")] == [item.audio_sha256 for item in processed({"call-1": data})]


def test_hints_reach_the_models(speech: Samples) -> None:
    """A known language and number of speakers are used."""
    models = simple_models()
    work = [planned_call(call_ref(hints=CallHints("de", (), 3)))]
    (found,) = processed({"call-1": wav(speech)}, models, work)
    assert ("de", [3]) == (models.recognizer.heard[0][2], models.diarizer.asked)
    assert ("de", None) == (found.transcript.language, found.transcript.language_probability)


@pytest.mark.parametrize(
    ("roles", "speakers"),
    [
        (("agent", "customer"), ["agent", "customer"]),
        (("agent",), ["SPEAKER_01", "agent"]),
        ((), ["SPEAKER_00", "SPEAKER_01"]),
    ],
)
def test_channels_of_their_own_need_no_diarizer(speech: Samples, roles: tuple[str, ...], speakers: list[str]) -> None:
    """Who is on a channel speaks on it."""
    models = simple_models()
    work = [planned_call(call_ref(hints=CallHints(None, roles)))]
    (found,) = processed({"call-1": wav(speech, np.roll(speech[::-1], 999))}, models, work)
    assert ("separate", speakers) == (found.layout, list(found.transcript.speakers))
    assert [] == models.diarizer.asked
    assert {0, 1} == {item.channel for item in found.transcript.utterances}


@pytest.mark.parametrize(
    ("shared", "speakers", "asked"),
    [
        ((), ["agent", "customer"], 0),
        (("agent",), ["agent_00", "agent_01", "customer"], 1),
        (("supervisor",), ["agent", "customer"], 0),
        (("*",), ["agent_00", "agent_01", "customer_00", "customer_01"], 2),
    ],
)
def test_several_in_a_channel(speech: Samples, shared: tuple[str, ...], speakers: list[str], asked: int) -> None:
    """Where several may share a channel, they are told apart within it, however many are in the call."""
    models = simple_models(diarizer=SimpleDiarizer(count=2))
    work = [planned_call(call_ref(hints=CallHints(None, ("agent", "customer"), speakers=2)))]
    talk = np.concatenate([speech, silent(3.0), speech])
    recordings: dict[str, bytes | Exception] = {"call-1": wav(talk, np.roll(talk[::-1], 999))}
    settings = load_settings(overrides={"diarization": {"shared_channels": shared, "min_speakers": 2}})
    (found,) = process(work, fetching(recordings), models, settings)
    assert ("separate", speakers) == (found.layout, list(found.transcript.speakers))
    assert [1] * asked == models.diarizer.asked


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_calls_are_diarized_beside_recognition_on_a_gpu(speech: Samples, kind: str) -> None:
    """There in a thread of its own, here after it; with the same result, and a failure is the call's alone."""
    threads: list[str] = []
    began = threading.Event()

    def diarizing(_: Track) -> None:
        threads.append(threading.current_thread().name)
        began.set()
        if len(threads) == 2:
            message = "broke"
            raise RuntimeError(message)

    def recognizing(_: Track) -> None:
        assert kind == "cpu" or began.wait(10), "the diarizer does not wait for the recogniser"
        assert kind == "cuda" or not began.is_set()

    recognizer = SimpleRecognizer(before=recognizing)
    recognizer.prove = lambda: None  # type: ignore[attr-defined]  # asked on cuda after a library failed a call
    diarizer = SimpleDiarizer(before=diarizing)
    diarizer.prove = lambda: None  # type: ignore[attr-defined]  # the same
    models = replace(simple_models(recognizer, diarizer), device=Device(kind, 0, "a test", "float16"))
    found = processed({"call-1": wav(speech), "call-2": wav(speech)}, models)
    assert ["transcribed", "failed"] == [item.kind for item in found]
    assert ["SPEAKER_00"] == list(found[0].transcript.speakers)
    assert found[0].timings.diarize_s > 0
    main = threading.current_thread().name
    assert [kind == "cpu"] * 2 == [name == main for name in threads]


def test_a_call_that_failed_is_let_go_before_its_sound_is(speech: Samples) -> None:
    """What is diarized beside recognition for a call that fails there has ended when its files are removed."""
    ends: list[bool] = []
    began = threading.Event()

    def diarizing(track: Track) -> None:
        began.set()
        time.sleep(0.3)
        ends.append(track.path.exists())

    def recognizing(_: Track) -> None:
        assert began.wait(10)
        message = "broke"
        raise RuntimeError(message)

    recognizer, diarizer = SimpleRecognizer(before=recognizing), SimpleDiarizer(before=diarizing)
    recognizer.prove = lambda: ends.append(True)  # type: ignore[attr-defined]  # asked on cuda, and only after that
    diarizer.prove = lambda: None  # type: ignore[attr-defined]  # the same
    models = replace(simple_models(recognizer, diarizer), device=Device("cuda", 0, "a test", "float16"))
    (found,) = processed({"call-1": wav(speech)}, models)
    assert ("failed", [True, True]) == (found.kind, ends)


def test_the_channel_that_is_heard_is_the_files(speech: Samples) -> None:
    """Of a stereo call whose first channel is silent, utterances name the second; one channel needs a diarizer."""
    models = simple_models()
    (found,) = processed({"call-1": wav(silent(5.0), speech)}, models)
    assert ("one_sided", {1}, [None]) == (
        found.layout,
        {item.channel for item in found.transcript.utterances},
        models.diarizer.asked,
    )


@pytest.mark.parametrize(
    ("kept", "roles", "speakers"),
    [
        ((0, 1), ("agent", "customer"), ["agent", "customer"]),
        ((1, 2), ("agent", "customer"), ["customer", "SPEAKER_02"]),
        ((0, 2, 11), (), ["SPEAKER_00", "SPEAKER_02", "SPEAKER_11"]),
    ],
)
def test_roles_belong_to_the_channels_of_the_file(
    kept: tuple[int, ...], roles: tuple[str, ...], speakers: list[str]
) -> None:
    """A silent channel keeps its role to itself."""

    @dataclass
    class Kept:
        source_channels: tuple[int, ...]

    assert speakers == channel_speakers(Kept(kept), roles)


@pytest.mark.parametrize("channels", [(silent(),), (silent(), silent())], ids=["mono", "stereo"])
def test_a_silent_call_has_no_speech(channels: tuple[Samples, ...]) -> None:
    """Silence is an outcome of its own, not a failure: the recording is known, and nothing was said."""
    models = simple_models()
    (found,) = processed({"call-1": wav(*channels)}, models)
    assert ("no_speech", None, 2.0) == (found.kind, found.failure, found.duration_s)
    assert ((), None, None, ()) == (
        found.transcript.utterances,
        found.transcript.language,
        found.transcript.language_probability,
        found.transcript.speakers,
    )
    assert [] == models.diarizer.asked, "there is nobody to tell apart"


# ------------------------------------------------------------------------------------------------ what can go wrong


@pytest.mark.parametrize(
    ("recording", "code", "transient"),
    [
        (b"", "undecodable_audio", False),
        (b"not a sound at all" * 100, "undecodable_audio", False),
        (wav(silent(0.0)), "zero_length_audio", False),
        (wav(silent(MAX_DURATION_S + 0.1)), "too_long", False),
        (ObjectVanished("gone"), "object_vanished", True),
        (ObjectChanged("replaced"), "object_changed", True),
        (StorageUnavailable("slow down"), "storage_unavailable", True),
        (TooLarge("too many bytes"), "too_large", False),
        (OSError(28, "No space left on device"), "scratch_full", True),
        (KeyError("call"), "processing_error", True),
    ],
    ids=[
        "no bytes", "garbage", "no samples", "too long", "vanished", "changed", "unavailable", "too large", "disk full",
        "a mistake of ours",
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_loaded(
    speech: Samples, recording: bytes | Exception, code: str, transient: bool
) -> None:
    """It fails with its code and sentence; the calls before and after it are as if it were not there."""
    before, found, after = processed({"call-1": wav(speech), "call-2": recording, "call-3": wav(speech)})
    assert ("failed", code, transient) == (found.kind, found.failure.code, found.failure.transient)
    assert found.failure.message
    assert found.transcript is None
    assert ["call-1", "call-3"] == [before.call.call_id, after.call.call_id]
    assert before.transcript == after.transcript
    assert "transcribed" == before.kind


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, Failure("empty_object", "the object is empty (0 bytes)", transient=False)),
        (
            MAX_BYTES + 1,
            Failure(
                "too_large", "the object has 1,000,001 bytes, over the limit of 1,000,000 (archive.max_bytes)",
                transient=False,
            ),
        ),
    ],
)  # fmt: skip
def test_sizes_are_judged_before_anything_is_fetched(size_bytes: int, expected: Failure) -> None:
    """An empty or too large object is not even opened."""
    work = [planned_call(call_ref("call-1", size_bytes=size_bytes))]
    (found,) = processed({"call-1": AssertionError("fetched")}, work=work)
    assert (expected, None, None, None, ()) == (
        found.failure,
        found.audio_sha256,
        found.source,
        found.duration_s,
        found.preprocessing,
    )


def test_an_object_of_the_limit_is_accepted(speech: Samples) -> None:
    """The limit itself is allowed."""
    work = [planned_call(call_ref("call-1", size_bytes=MAX_BYTES))]
    assert ["transcribed"] == [item.kind for item in processed({"call-1": wav(speech)}, work=work)]


@pytest.mark.parametrize("stage", ["recognizer", "diarizer"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA out of memory"), failure("processing_error", "RuntimeError: CUDA out of memory")),
        (ValueError("bad shape"), failure("processing_error", "ValueError: bad shape")),
        (MemoryError(), failure("processing_error", "MemoryError: ")),
        (StorageUnavailable("odd, here"), failure("storage_unavailable", "odd, here")),
    ],
    ids=["runtime", "value", "memory", "call error"],
)
def test_an_unexpected_exception_is_one_calls(speech: Samples, stage: str, error: Exception, expected: Failure) -> None:
    """Whatever a library raises on a call fails that call; what is known of its recording stays known."""
    models = simple_models()
    getattr(models, stage).before = raising(error, at=2)
    found = processed({f"call-{number}": wav(speech) for number in (1, 2, 3)}, models)
    assert ["transcribed", "failed", "transcribed"] == [item.kind for item in found]
    assert (expected, None, 5.0, "mono", 64) == (
        found[1].failure,
        found[1].transcript,
        found[1].duration_s,
        found[1].layout,
        len(found[1].audio_sha256),
    )
    assert found[0].transcript == found[2].transcript


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("error", [StorageRefused("no keys"), DeviceError("it is gone"), BundleError("altered")])
@pytest.mark.parametrize("stage", ["fetch", "recognizer", "diarizer"])
def test_a_usage_error_stops_the_run(speech: Samples, stage: str, error: Exception) -> None:
    """What is wrong around the calls is no call's failure; what was done before it has been handed out."""
    recordings: dict[str, bytes | Exception] = {f"call-{number}": wav(speech) for number in (1, 2, 3)}
    models = simple_models()
    if stage == "fetch":
        recordings["call-2"] = error
    else:
        getattr(models, stage).before = raising(error, at=2)
    outcomes = process([planned_call(name) for name in recordings], fetching(recordings), models, settings_of())
    assert ("call-1", "transcribed") == _named(next(outcomes))
    with pytest.raises(type(error)) as caught:
        next(outcomes)
    assert caught.value is error
    assert [] == list(outcomes)


def _named(found: Outcome) -> tuple[str, str]:
    return found.call.call_id, found.kind


def test_a_call_that_lost_its_end(speech: Samples) -> None:
    """It is transcribed as far as it goes; the row says how long it was, and that somebody should look."""
    data = wav(speech)
    whole, cut = processed({"call-1": data, "call-2": data[: len(data) // 2]})
    assert ("transcribed", 5.0, 5.0) == (whole.kind, whole.duration_s, whole.source.declared_s)
    assert ("transcribed", 5.0) == (cut.kind, cut.source.declared_s)
    assert pytest.approx(2.5, abs=0.01) == cut.duration_s
    assert "truncated_audio" not in whole.transcript.quality.review_reasons
    assert "truncated_audio" in cut.transcript.quality.review_reasons
    assert cut.transcript.quality.review
    row = rows_of(cut, provenance()).call
    assert (5.0, cut.duration_s, True) == (row["declared_duration_s"], row["duration_s"], row["review"])


@pytest.mark.parametrize(("extension", "outcome"), [("ulaw", "transcribed"), ("wav", "failed")])
def test_headerless_calls(speech: Samples, extension: str, outcome: str) -> None:
    """Of what no decoder recognises, the named extensions are read as settings say, and no other."""
    file = io.BytesIO()
    soundfile.write(file, speech, 8000, format="RAW", subtype="ULAW")
    raw = {"raw_encoding": "mulaw", "raw_sampling_rate": 8000, "raw_channels": 1, "raw_extensions": ("ulaw",)}
    work = [planned_call(call_ref(key=f"2026/10/05/call-1.{extension}"))]
    settings = load_settings(overrides={"archive": raw})
    (found,) = process(work, fetching({"call-1": file.getvalue()}), simple_models(), settings)
    assert outcome == found.kind
    if outcome == "transcribed":
        assert ("pcm_mulaw", "raw", None, 5.0) == (
            found.source.codec,
            found.source.container,
            found.source.declared_s,
            found.duration_s,
        )


def test_a_recording_that_bloats_its_decoder(speech: Samples) -> None:
    """The call before and the call after are as if it were not there."""
    data = io.BytesIO()
    with soundfile.SoundFile(data, "w", 8000, 2, "PCM_16", format="FLAC") as file:
        for _ in range(20):
            file.write(np.zeros((8000 * 60, 2), dtype=np.float32))
    small = {"decoder": {"max_output_bytes": 10_000_000}, "archive": {"max_duration_s": 1e6}}
    recordings = {"call-1": wav(speech), "call-2": data.getvalue(), "call-3": wav(speech)}
    found = list(
        process(map(planned_call, recordings), fetching(recordings), simple_models(), load_settings(overrides=small))
    )
    assert ["transcribed", "failed", "transcribed"] == [item.kind for item in found]
    assert ("too_large", False) == (found[1].failure.code, found[1].failure.transient)


# --------------------------------------------------------------------------------------------------- copied audio


def test_copied_audio_is_not_transcribed_again(tmp_path: Path, speech: Samples) -> None:
    """An object that was merely copied keeps its transcript: it is read, and neither decoded nor heard."""
    data = b"these bytes were transcribed, and are not even looked at"
    (tmp_path / "call").write_bytes(data)
    known = sha256_of(tmp_path / "call")
    models = simple_models()
    work = [planned_call("call-1", known_sha256=known), planned_call("call-2", known_sha256=known)]
    copied, other = processed({"call-1": data, "call-2": wav(speech)}, models, work)
    assert CopiedAudio(call_ref("call-1"), known) == copied
    assert ("call-2", "transcribed") == _named(other)
    assert 1 == len(models.recognizer.heard)


# ------------------------------------------------------------------------------------------------ order, one each


@pytest.mark.parametrize("loader_threads", [1, 2, 5])
def test_one_outcome_per_call_in_order(speech: Samples, loader_threads: int) -> None:
    """Calls of every kind, whose loading takes very different times, come out once each in the order of the work."""
    kinds: list[bytes | Exception] = [
        wav(speech), b"garbage" * 99, ObjectVanished("gone"), wav(silent(10.0)), RuntimeError("?"),
    ]  # fmt: skip
    recordings = {f"call-{number}": kinds[number % len(kinds)] for number in range(20)}
    inner = fetching(recordings)

    def slow(call: CallRef, path: Path) -> None:
        threading.Event().wait(0.02 if call.call_id.endswith("0") else 0.0)
        inner(call, path)

    work = [planned_call(name) for name in recordings]
    found = list(process(work, slow, simple_models(), settings_of(loader_threads=loader_threads)))
    assert list(recordings) == [item.call.call_id for item in found]
    assert ["transcribed", "failed", "failed", "no_speech", "failed"] * 4 == [item.kind for item in found]


def test_no_work_no_outcome() -> None:
    """Nothing in, nothing out."""
    assert [] == processed({})


# ------------------------------------------------------------------------------------------------ memory and disk


@pytest.mark.parametrize(("most", "sizes"), [(3, [3, 3, 2]), (8, [8]), (32, [8]), (1, [1] * 8)])
def test_calls_are_recognised_in_piles(
    speech: Samples, most: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recogniser gets as many calls at a time as a pile holds; outcomes keep the order of the work."""
    monkeypatch.setattr("tasks.pipeline.PILE_CALLS", most)
    models, found = simple_models(), []
    inner = models.recognizer.recognize
    models.recognizer.recognize = lambda calls: found.append(len(calls)) or inner(calls)
    recordings: dict[str, bytes | Exception] = {f"call-{number}": wav(speech) for number in range(8)}
    assert list(recordings) == [item.call.call_id for item in processed(recordings, models)]
    assert sizes == found


def test_a_pile_that_fails_as_a_whole(speech: Samples) -> None:
    """What the recogniser raises itself is told in every call's row, as a failure that passes."""
    models = simple_models()

    def broken(_: Sequence[CallSpeech]) -> list[Recognition | Exception]:
        message = "not today"
        raise RuntimeError(message)

    models.recognizer.recognize = broken
    found = processed({"call-1": wav(speech), "call-2": wav(speech)}, models)
    assert [failure("processing_error", "RuntimeError: not today")] * 2 == [item.failure for item in found]


@pytest.mark.parametrize(("kind", "expected"), [("cpu", 2), ("cuda", 4)])
def test_calls_are_loaded_at_a_time_as_the_device_needs_them(speech: Samples, kind: str, expected: int) -> None:
    """Where no number is set: so many threads fetch at once, and no more."""
    together = threading.Barrier(expected)
    threads: set[str] = set()

    def fetch(_: CallRef, path: Path) -> None:
        threads.add(threading.current_thread().name)
        together.wait(10)
        path.write_bytes(wav(speech))

    models = replace(simple_models(), device=Device(kind, 0, "a test", "float16"))
    work = [planned_call(call_ref(f"call-{number}")) for number in range(8)]
    assert ["transcribed"] * 8 == [found.kind for found in process(work, fetch, models, settings_of())]
    assert expected == len(threads)


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("loader_threads", [1, 2, 3])
def test_loading_runs_ahead_no_further_than_its_threads(speech: Samples, loader_threads: int) -> None:
    """Of calls that are long, at most `loader_threads` are taken from the work before the models have them."""
    taken: list[str] = []
    ahead: list[int] = []

    def work() -> Iterator[PlannedCall]:
        for number in range(8):
            taken.append(f"call-{number}")
            yield planned_call(f"call-{number}")

    models = simple_models()
    models.recognizer.before = lambda _: ahead.append(len(taken) - len(models.recognizer.heard))
    recordings = {f"call-{number}": wav(speech) for number in range(8)}
    processed(recordings, models, work(), loader_threads=loader_threads)
    assert [min(loader_threads, 7 - number) for number in range(8)] == ahead


def test_loading_overlaps_with_the_models(speech: Samples) -> None:
    """Even one loader thread fetches the next call while the models work on this one."""
    fetched = threading.Event()
    inner = fetching({"call-1": wav(speech), "call-2": wav(speech)})

    def fetch(call: CallRef, path: Path) -> None:
        inner(call, path)
        if call.call_id == "call-2":
            fetched.set()

    models, waited = simple_models(), []
    models.recognizer.before = lambda _: waited.append(fetched.wait(10))
    work = [planned_call("call-1"), planned_call("call-2")]
    assert 2 == len(list(process(work, fetch, models, settings_of(loader_threads=1))))
    assert [True, True] == waited


@pytest.mark.usefixtures("one_at_a_time")
def test_the_models_find_tracks_and_nothing_else(speech: Samples) -> None:
    """When a call is heard, its recording and the decoded samples are gone, and so is all of the calls before."""
    models, seen, folders = simple_models(), [], list[Path]()

    def look(track: Track) -> None:
        seen.append([path.name for path in track.path.parent.iterdir()])
        assert [] == [folder for folder in folders if folder.exists()]
        folders.append(track.path.parent)

    models.diarizer.before = look
    recordings = {f"call-{number}": wav(speech) for number in range(4)}
    found = list(process(map(planned_call, recordings), fetching(recordings), models, settings_of()))
    assert [["channel-0.f32"]] * 4 == seen
    assert ["transcribed"] * 4 == [item.kind for item in found], [item.failure for item in found]


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("loader_threads", [1, 3])
def test_nothing_of_a_finished_call_stays_on_the_disk(
    tmp_path: Path, speech: Samples, loader_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transcribed, silent, failed at any stage, copied: with its outcome, its files are gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = wav(speech)
    (tmp_path / "copied").write_bytes(data)
    known = sha256_of(tmp_path / "copied")
    (tmp_path / "copied").unlink()
    kinds: dict[str, bytes | Exception] = {
        "good": data, "garbage": b"garbage" * 99, "vanished": ObjectVanished("gone"), "copied": data,
        "silent": wav(silent()), "broken": wav(-speech), "stereo": wav(speech, np.roll(speech[::-1], 999)),
        "too long": wav(silent(MAX_DURATION_S + 1)), "empty": b"", "last": data,
    }  # fmt: skip
    work = [
        planned_call(
            call_ref(name, size_bytes=len(held) if isinstance(held, bytes) else 9),
            known_sha256=known if name == "copied" else None,
        )
        for name, held in kinds.items()
    ]
    folders: dict[str, Path] = {}
    inner = fetching(kinds)

    def fetch(call: CallRef, path: Path) -> None:
        folders[call.call_id] = path.parent
        inner(call, path)

    models = simple_models()
    models.diarizer.before = raising(RuntimeError("broke"), at=2)
    found = []
    for outcome in process(work, fetch, models, settings_of(loader_threads=loader_threads)):
        found.append(getattr(outcome, "kind", "copied"))
        done = [call.call.call_id for call in work[: len(found)]]
        assert [] == [name for name in done if name in folders and folders[name].exists()]
        (scratch,) = tmp_path.iterdir()
        assert len(list(scratch.iterdir())) <= min(loader_threads, len(work) - len(found))
    assert ["transcribed", "failed", "failed", "copied", "no_speech", "failed", "transcribed", "failed", "failed",
            "transcribed"] == found  # fmt: skip
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["recording.samples", "channel-0.f32", "denoised-0.f32"])
def test_a_full_disk_fails_the_call_that_met_it(speech: Samples, file: str) -> None:
    """Whatever of a call has no room, it fails for a passing reason that says so; the next call is as ever."""
    inner = fetching({"call-1": wav(speech), "call-2": wav(speech)})

    def fetch(call: CallRef, path: Path) -> None:
        inner(call, path)
        if call.call_id == "call-1":
            path.with_name(file).symlink_to("/dev/full")

    settings = load_settings(overrides={"audio": {"denoise": "always"}, "run": {"loader_threads": 1}})
    first, second = process(map(planned_call, ("call-1", "call-2")), fetch, simple_models(), settings)
    assert ("scratch_full", True) == (first.failure.code, first.failure.transient)
    assert "TMPDIR" in first.failure.message
    assert ("call-2", "transcribed") == _named(second)


@pytest.mark.usefixtures("one_at_a_time")
def test_recordings_do_not_stay_on_the_disk(speech: Samples) -> None:
    """A recording is removed once it is decoded, and the scratch folder with the run, however it ends."""
    paths: list[Path] = []
    inner = fetching({f"call-{number}": wav(speech) for number in range(4)})

    def fetch(call: CallRef, path: Path) -> None:
        assert not path.exists()
        paths.append(path)
        inner(call, path)

    models, left = simple_models(), []
    models.recognizer.before = lambda _: left.append(paths[0].exists())
    outcomes = process([planned_call(f"call-{number}") for number in range(4)], fetch, models, settings_of())
    next(outcomes)
    next(outcomes)
    scratch = paths[0].parent.parent
    assert scratch.is_dir()
    assert [False, False] == left
    outcomes.close()
    assert not scratch.exists()


def test_a_failure_of_one_attempt_is_not_the_next_ones(speech: Samples) -> None:
    """The same call, planned twice, is tried twice."""
    recordings = iter([ObjectVanished("gone"), wav(speech)])

    def fetch(call: CallRef, path: Path) -> None:
        fetching({call.call_id: next(recordings)})(call, path)

    first = planned_call("call-1")
    work = [first, replace(first, attempt=2)]
    found = list(process(work, fetch, simple_models(), settings_of(loader_threads=1)))
    assert [("call-1", "failed"), ("call-1", "transcribed")] == [_named(item) for item in found]


def test_every_error_of_a_call_becomes_a_row(speech: Samples) -> None:
    """No kind of CallError, of today or tomorrow, escapes."""
    kinds = [kind for base in CallError.__subclasses__() for kind in (base, *base.__subclasses__())]
    recordings = {f"call-{number}": kind("a sentence") for number, kind in enumerate(kinds)}
    found = processed({**recordings, "last": wav(speech)})
    assert [(kind.code, "a sentence", kind.transient) for kind in kinds] == [
        (item.failure.code, item.failure.message, item.failure.transient) for item in found[:-1]
    ]
    assert "transcribed" == found[-1].kind


def test_a_gpu_that_died_stops_the_run(speech: Samples) -> None:
    """A call that a library fails on cuda is not a failed call when the device does not run the models any more."""

    def die(*_: object) -> None:
        message = "CUDA error: an illegal memory access was encountered"
        raise RuntimeError(message)

    dead = SimpleRecognizer(before=die)
    dead.prove = die  # type: ignore[attr-defined]  # what is asked of a model after it failed a call
    models = replace(simple_models(dead), device=Device("cuda", 0, "a GPU", "float16"))
    with pytest.raises(DeviceError, match=r"a GPU \(cuda:0, float16\) cannot run the models: CUDA error"):
        processed({"first": wav(speech)}, models)


# -------------------------------------------------------------------------------------------------- noise reduction


NOISY = ARCHIVE / "13/demo-0005.flac"


def of_the_noisy_call(recognizer: SimpleRecognizer, **audio: object) -> Outcome:
    """The demo's noisy call, with these audio settings."""
    recordings: dict[str, bytes | Exception] = {"call-1": NOISY.read_bytes()}
    settings = load_settings(overrides={"audio": audio})
    (found,) = process([planned_call("call-1")], fetching(recordings), simple_models(recognizer), settings)
    assert found.failure is None
    return found


def denoising(found: Outcome) -> list[str]:
    """What the outcome says of noise reduction, without the gain that followed."""
    return [re.sub(r" [+-]\d+\.\d dB", "", step) for step in found.preprocessing if step.startswith("denoise")]


@pytest.mark.parametrize(
    ("prefers_denoised", "applied", "steps"),
    [(0.2, True, ["denoise(noisereduce stationary: 0)"]), (0.0, False, []), (-0.2, False, [])],
)
def test_the_recogniser_decides_on_noise(prefers_denoised: float, applied: bool, steps: list[str]) -> None:
    """A noisy channel is tried both ways; the row holds the evidence, and says what was done."""
    recognizer = SimpleRecognizer(prefers_denoised=prefers_denoised)
    found = of_the_noisy_call(recognizer, denoise="auto", denoise_below_snr_db=60.0, denoise_probe_s=10.0)
    (trial,) = found.denoise_trials
    assert (0, found.signals.snr_db, 10.0, applied) == (trial.channel, trial.snr_db, trial.probe_s, trial.applied)
    assert [pytest.approx(10.0)] * 2 == [sum(one.duration_s for one in held) for _, held, _ in recognizer.heard[:2]]
    assert 3 == len(recognizer.heard)
    sure = pytest.approx(prefers_denoised * applied - 0.5)
    assert all(sure == item.avg_logprob for item in found.transcript.utterances)
    assert steps == denoising(found)
    row = rows_of(found, provenance()).call
    assert [(0, trial.snr_db, 10.0, -0.5, pytest.approx(prefers_denoised - 0.5), applied)] == [
        (held["channel"], held["snr_db"], held["probe_s"], held["recorded_avg_logprob"], held["denoised_avg_logprob"],
         held["applied"])
        for held in row["denoise_trials"]
    ]  # fmt: skip
    assert list(found.preprocessing) == row["preprocessing"]


def test_noise_is_left_alone_unless_it_is_asked_for() -> None:
    """Off by default; with `auto` only under the threshold; `always` without a trial. What is measured is the same."""
    heard = {name: SimpleRecognizer(prefers_denoised=1.0) for name in ("default", "clean enough", "always")}
    plain = of_the_noisy_call(heard["default"])
    clean = of_the_noisy_call(heard["clean enough"], denoise="auto", denoise_below_snr_db=plain.signals.snr_db)
    always = of_the_noisy_call(heard["always"], denoise="always")
    assert [[], [], ["denoise(noisereduce stationary: 0)"]] == [denoising(one) for one in (plain, clean, always)]
    assert {()} == {one.denoise_trials for one in (plain, clean, always)}
    assert [1, 1, 1] == [len(one.heard) for one in heard.values()]
    assert [-0.5, -0.5, 0.5] == [one.transcript.utterances[0].avg_logprob for one in (plain, clean, always)]
    assert plain.signals == clean.signals == always.signals
    assert plain.loudness_lufs == always.loudness_lufs
    assert plain.transcript.quality == always.transcript.quality


def test_channels_are_tried_apart(speech: Samples) -> None:
    """Each channel has its own SNR, trial and decision; the steps name those of the file that were reduced."""
    rng = np.random.default_rng(2)
    noisy = np.roll(speech[::-1], 999) + 0.02 * rng.standard_normal(len(speech)).astype(np.float32)
    recognizer = SimpleRecognizer(prefers_denoised=1.0)
    settings = load_settings(overrides={"audio": {"denoise": "auto", "denoise_below_snr_db": 25.0}})
    data = wav(silent(5.0), speech, noisy)
    (found,) = process([planned_call("call-1")], fetching({"call-1": data}), simple_models(recognizer), settings)
    assert (1, 2) == tuple(one.channel for one in found.signals.channels)
    assert [2] == [trial.channel for trial in found.denoise_trials]
    assert ["denoise(noisereduce stationary: 2)"] == denoising(found)
    assert [1, 1, 0, 1] == [channel for channel, _, _ in recognizer.heard], "one is heard both ways before the call is"


@pytest.mark.long
def test_noise_with_a_real_recogniser(models: Models) -> None:
    """The starter models on the noisy call: a trial with two scores, and a transcript of the way that it says."""
    settings = load_settings(overrides={"audio": {"denoise": "auto", "denoise_below_snr_db": 60.0}})
    (found,) = process([planned_call("call-1")], fetching({"call-1": NOISY.read_bytes()}), models, settings)
    (trial,) = found.denoise_trials
    assert all(-2 < one.avg_logprob < 0 and one.coverage > 0.8 for one in (trial.recorded, trial.denoised))
    assert trial.probe_s == found.transcript.quality.speech_s
    assert trial.applied == bool(denoising(found))
    assert found.transcript.metrics.words > 60


def crossed(speech: Samples, level: float = 0.1, delay: int = 320) -> tuple[Samples, Samples]:
    """Two channels, 30 s: this side speaks first, the other after it, and leaks into this one, weaker and later."""
    own, other = np.zeros((2, 30 * 8000), dtype=np.float32)
    own[: len(speech)] = speech
    for start_s in (8, 14, 20):
        other[start_s * 8000 : start_s * 8000 + len(speech)] = speech[::-1] * 0.8
    leak = level * np.concatenate([np.zeros(delay, dtype=np.float32), other])[: len(other)]
    hiss = 1e-4 * np.random.default_rng(1).standard_normal((2, len(own))).astype(np.float32)
    return own + leak + hiss[0], other + hiss[1]


@pytest.mark.parametrize("aside", [True, False])
def test_the_other_sides_voice_is_no_speech_of_this_side(speech: Samples, aside: bool) -> None:
    """A leak is measured, set aside and said in the row; settings can leave it alone. Own speech stays."""
    settings = load_settings(overrides={"audio": {"set_crosstalk_aside": aside}})
    recognizer = SimpleRecognizer()
    fetch = fetching({"call-1": wav(*crossed(speech))})
    (found,) = process([planned_call("call-1")], fetch, simple_models(recognizer), settings)
    heard = {channel: regions for channel, regions, _ in recognizer.heard}
    assert any(one.start < 2 and one.end > 3 for one in heard[0])
    leaked_s = sum(max(0.0, one.end - max(one.start, 8)) for one in heard[0])
    row = rows_of(found, provenance()).call
    measured = row["channel_signals"][0]
    if aside:
        assert leaked_s < 3
        assert measured["crosstalk_s"] == row["crosstalk_s"] > 6
        assert (pytest.approx(-20, abs=1), pytest.approx(40, abs=1), 1) == (
            measured["crosstalk_db"], measured["crosstalk_delay_ms"], measured["crosstalk_source"]
        )  # fmt: skip
        assert f"crosstalk(channel 0: {row['crosstalk_s']:.1f} s of channel 1 set aside)" in row["preprocessing"]
    else:
        assert leaked_s > 8
        assert (0.0, None) == (measured["crosstalk_s"], measured["crosstalk_db"])


def _resident(kind: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition(f"{kind}:")[2].split()[0])


@pytest.mark.long
def test_memory_does_not_grow_with_the_call(tmp_path: Path) -> None:
    """An hour of two channels, half a gigabyte of samples, takes little more memory than a minute does."""
    samples, rate = soundfile.read(ARCHIVE / "06/demo-0002.wav", dtype="float32")
    path = tmp_path / "call.wav"
    with soundfile.SoundFile(path, "w", rate, 2, "ULAW") as file:
        for _ in range(3600 * rate // len(samples)):
            file.write(samples)
    limits = {"archive": {"max_duration_s": 3600, "max_bytes": 10**9}}
    for data in (wav(*samples.T), path.read_bytes()):
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
        work = [planned_call(call_ref("call-1", size_bytes=len(data)))]
        (found,) = process(work, fetching({"call-1": data}), simple_models(), load_settings(overrides=limits))
        assert found.kind == "transcribed"
    assert found.duration_s > 3500
    assert _resident("VmHWM") - before < 400_000_000
