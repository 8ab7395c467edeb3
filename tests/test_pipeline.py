"""The straight line: every call gives one outcome, in order, and no call touches another."""

import gc
import io
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
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
from tasks.models import Models
from tasks.pipeline import Fetch, channel_speakers, process
from tasks.records import (
    CallHints,
    CallRef,
    CopiedAudio,
    Failure,
    Outcome,
    PlannedCall,
    Recognition,
    Region,
    Samples,
    Turn,
)
from tasks.settings import Settings, load_settings
from tasks.tables import rows_of

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


@dataclass
class SimpleRecognizer:
    """Stands in for the recogniser: hears one word in the middle of each speech region."""

    heard: list[tuple[int, list[tuple[Region, ...]], str | None]] = field(default_factory=list)
    before: Callable[[Samples], None] = lambda _: None

    def recognize(self, channels: Samples, regions: list[tuple[Region, ...]], language: str | None) -> Recognition:
        """A segment for each region of each channel."""
        self.heard.append((channels.shape[0], regions, language))
        self.before(channels)
        found = [
            segment(word("hello", (one.start + one.end) / 2), channel=channel)
            for channel, held in enumerate(regions)
            for one in held
        ]
        return Recognition(tuple(found), (language or "en") if found else language, None if language else 0.9)


@dataclass
class SimpleDiarizer:
    """Stands in for the diarizer: one speaker all the time."""

    asked: list[int | None] = field(default_factory=list)
    before: Callable[[Samples], None] = lambda _: None

    def diarize(self, channel: Samples, speakers: int | None = None) -> tuple[Turn, ...]:
        """One turn over the whole call."""
        self.asked.append(speakers)
        self.before(channel)
        return (Turn(0.0, len(channel) / 16_000, "SPEAKER_00"),)


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


def raising(error: Exception, at: int) -> Callable[[Samples], None]:
    """Raises at the call of that number, from 1."""
    calls = count(1)

    def step(_: Samples) -> None:
        if next(calls) == at:
            raise error

    return step


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
        (OSError(28, "No space left on device"), "processing_error", True),
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


@pytest.mark.parametrize("loader_threads", [1, 2, 3])
def test_loading_runs_ahead_no_further_than_its_threads(speech: Samples, loader_threads: int) -> None:
    """While the models work on a call, at most `loader_threads` further ones have been taken from the work."""
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


def test_samples_are_dropped(speech: Samples) -> None:
    """Outcomes that are kept hold no sound: that of a call is gone when the next one is heard."""
    sounds: list[weakref.ref] = []
    alive: list[int] = []

    def remember(channels: Samples) -> None:
        gc.collect()
        alive.append(sum(sound() is not None for sound in sounds))
        sounds.append(weakref.ref(channels))

    models = simple_models()
    models.recognizer.before = remember
    recordings = {f"call-{number}": wav(speech) for number in range(4)}
    kept = list(process(map(planned_call, recordings), fetching(recordings), models, settings_of()))
    assert 4 == len(kept)
    assert [0, 0, 0, 0] == alive
    gc.collect()
    assert not any(sound() is not None for sound in sounds)


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
