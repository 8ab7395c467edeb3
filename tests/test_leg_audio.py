"""Calls in several files, one for each channel: decoded, put side by side, and what becomes of a bad one."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from builders import call_ref, planned_call
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import recording, scratch, sine
from stand_ins import StandInRecognizer, build_bundle, stand_in_models, tone, wav

from tasks.errors import NotMono, ObjectChanged, StorageRefused, TooLarge
from tasks.heard import CallSpeech
from tasks.leg_audio import require_mono, resampled_step, side_by_side
from tasks.legs import etag_of, sha256_of_legs
from tasks.models import Models
from tasks.pipeline import Fetch, process
from tasks.records import CallHints, CallRef, CopiedAudio, Leg, Outcome, PlannedCall, Recognition, Samples
from tasks.settings import load_settings
from tasks.tracks import Recording

MOST = 10**9
RATE_HZ = 8000


def _joined(*legs: Recording, limit: int = MOST) -> tuple[Recording, Samples]:
    """Recordings side by side, and their samples, `[channel, sample]`."""
    found = side_by_side(legs, scratch() / "joined", limit)
    return found, np.concatenate(list(found.blocks())).T


# ---------------------------------------------------------------------------------------------------- side by side


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=2, max_size=5), st.sampled_from([7, 1000, 1 << 20]))
def test_every_sample_has_its_place(lengths: list[int], block: int) -> None:
    """The n-th file is the n-th channel, from the start; shorter ones are silent at their end."""
    sounds = [np.full(length, (number + 1) / 8, dtype=np.float32) for number, length in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.leg_audio.BLOCK_SAMPLES", block)
        legs = [recording(sound, RATE_HZ) for sound in sounds]
        found, samples = _joined(*legs)
    expected = np.zeros((len(lengths), max(lengths)), dtype=np.float32)
    for channel, sound in enumerate(sounds):
        expected[channel, : len(sound)] = sound
    assert np.array_equal(expected, samples)
    assert (len(lengths), len(lengths), RATE_HZ, max(lengths)) == (
        found.source.channels,
        found.source.streams,
        found.source.sampling_rate,
        found.samples,
    )
    assert [False] * len(legs) == [leg.path.exists() for leg in legs]


def test_files_of_different_rates() -> None:
    """All come out at the highest rate, as long as they were, at their pitch."""
    rates = [8000, 44_100, 11_025]
    legs = [recording(sine(440, 2.0, 0.5, rate), rate) for rate in rates]
    sources = [leg.source for leg in legs]
    found, samples = _joined(*legs)
    assert (44_100, 44_100 * 2) == (found.source.sampling_rate, found.samples)
    inner = slice(22_050, 66_150)
    expected = sine(440, 2.0, 0.5, 44_100)
    assert float(np.abs(samples[:, inner] - expected[inner]).max()) < 0.005
    assert ("legs(soxr_hq: channel 0 from 8000, channel 2 from 11025 to 44100 Hz)",) == resampled_step(sources)
    assert () == resampled_step(sources[:1])
    assert [] == [leg.path for leg in legs if leg.path.exists() or leg.path.with_name("x.resampled").exists()]


def test_lengths_that_differ_are_kept() -> None:
    """Where it is more than the raggedness of packets."""
    for seconds, expected in ((2.0, (3.0, 2.0)), (2.6, ())):
        found, _ = _joined(
            recording(sine(300, 3.0, rate=RATE_HZ), RATE_HZ), recording(sine(400, seconds, rate=RATE_HZ), RATE_HZ)
        )
        assert expected == found.source.channel_s


def test_what_the_files_say_of_themselves() -> None:
    """Each kind is named once; the longest length that is stated; of what did not decode, the most."""
    plain = recording(sine(300, 4.0, rate=RATE_HZ), RATE_HZ)
    told = [
        {"codec": "opus", "container": "ogg", "declared_s": None, "undecoded_s": 0.5},
        {"codec": "pcm_mulaw", "container": "wav", "declared_s": 4.0, "undecoded_s": 0.2},
        {"codec": "opus", "container": "matroska,webm", "declared_s": 4.2},
    ]
    legs = [recording(sine(300, 4.0, rate=RATE_HZ), RATE_HZ) for _ in told]
    legs = [replace(leg, source=replace(plain.source, **one)) for leg, one in zip(legs, told, strict=True)]
    found, _ = _joined(*legs)
    assert ("opus+pcm_mulaw", "ogg+wav+matroska,webm", 4.2, 0.5, 3, 0) == (
        found.source.codec,
        found.source.container,
        found.source.declared_s,
        found.source.undecoded_s,
        found.source.streams,
        found.source.undecoded_streams,
    )


@pytest.mark.parametrize(
    ("declared_s", "lengths_s", "undecoded_s"),
    [
        ((10.0, 10.0), (10.0, 4.0), 6.0),
        ((10.0, 5.0), (10.0, 4.5), 0.0),
        ((10.0, None), (10.0, 4.0), 0.0),
        ((10.0, 30.0), (10.0, 4.0), 6.0),
        ((12.0, 12.0), (10.0, 10.0), 0.0),
        ((10.0, 4.0), (10.0, 4.0), 0.0),
    ],
)
def test_a_file_that_lost_its_end(
    declared_s: tuple[float | None, ...], lengths_s: tuple[float, ...], undecoded_s: float
) -> None:
    """Is damaged as far as another one goes on; what is lost behind that, the stated length tells."""
    legs = [recording(sine(300, length_s, rate=RATE_HZ), RATE_HZ) for length_s in lengths_s]
    legs = [
        replace(leg, source=replace(leg.source, declared_s=said)) for leg, said in zip(legs, declared_s, strict=True)
    ]
    found, _ = _joined(*legs)
    stated = [said for said in declared_s if said is not None]
    assert (undecoded_s, max(stated)) == (found.source.undecoded_s, found.source.declared_s)


def test_too_much_together() -> None:
    """The limit of one file's samples holds for all together; nothing is written."""
    folder = scratch()
    legs = [recording(sine(300, 1.0, rate=RATE_HZ), RATE_HZ) for _ in range(2)]
    with pytest.raises(TooLarge, match=r"decode to more than 63,999 bytes together \(decoder.max_output_bytes\)"):
        side_by_side(legs, folder / "joined", 2 * RATE_HZ * 4 - 1)
    assert [] == list(folder.iterdir())
    assert 2 == side_by_side(legs, folder / "joined", 2 * RATE_HZ * 4).source.channels


def test_only_mono_files() -> None:
    """A stereo file is refused also where both channels say the same."""
    one = recording(sine(300, 1.0, rate=RATE_HZ), RATE_HZ)
    require_mono(one.source)
    with pytest.raises(NotMono, match="the file has 2 channels"):
        require_mono(replace(one.source, channels=2))


# ---------------------------------------------------------------------------------------------------- in the pipeline


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Stand-ins."""
    folder = tmp_path_factory.mktemp("bundles")
    build_bundle(folder)
    return stand_in_models(folder, StandInRecognizer())


GOOD, OTHER = wav(tone(300)), wav(tone(410, 0.6))
STEREO = wav(tone(300, channels=2))
JUNK = b"RIFF\x24\x00\x00\x00WAVE" + bytes(range(256)) * 20
Files = Mapping[str, bytes | Exception]


def _call(files: Files, **changes: object) -> CallRef:
    """A call of these files, in their order; the listing saw each that has bytes."""
    legs = tuple(
        Leg(key, f"s3://archive/{key}", f"etag-{key}", len(data) if isinstance(data, bytes) else 9)
        for key, data in files.items()
    )
    plain = call_ref(legs=legs, key=legs[0].key, uri=legs[0].uri, etag=etag_of(legs))
    return replace(plain, size_bytes=sum(leg.size_bytes for leg in legs), **changes)


def _fetching(files: Files, asked: list[tuple[str, str]]) -> Fetch:
    def fetch(call: CallRef, path: Path) -> None:
        asked.append((call.key, call.etag))
        found = files[call.key]
        if isinstance(found, Exception):
            raise found
        path.write_bytes(found)

    return fetch


def _done(files: Files, models: Models, **changes: object) -> Outcome | CopiedAudio:
    planned = planned_call(_call(files), **changes)
    (found,) = process([planned], _fetching(files, []), models, load_settings())
    return found


def _outcome(files: Files, models: Models) -> Outcome:
    found = _done(files, models)
    assert isinstance(found, Outcome)
    return found


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_good_call(models: Models) -> None:
    """Two files are two channels, in their order; each is read as it was listed, and digests are of their bytes."""
    files, asked = {"in.wav": GOOD, "out.wav": OTHER}, []
    call = _call(files, hints=CallHints("en", ("customer", "agent")))
    (found,) = process([planned_call(call)], _fetching(files, asked), models, load_settings())
    assert isinstance(found, Outcome)
    assert [("in.wav", "etag-in.wav"), ("out.wav", "etag-out.wav")] == asked
    assert (call, "transcribed", "separate", 1.0) == (found.call, found.kind, found.layout, found.duration_s)
    assert found.source is not None
    assert (2, 2, 8000, "pcm_s16le", "wav", ()) == (
        found.source.channels,
        found.source.streams,
        found.source.sampling_rate,
        found.source.codec,
        found.source.container,
        found.source.channel_s,
    )
    assert found.transcript is not None
    assert {(0, "customer"), (1, "agent")} == {(one.channel, one.speaker) for one in found.transcript.utterances}
    assert (_sha256(GOOD), _sha256(OTHER)) == found.leg_sha256
    assert _sha256(f"{_sha256(GOOD)}\n{_sha256(OTHER)}\n".encode()) == found.audio_sha256
    assert ["channels", "resample", "loudness"] == [step.partition("(")[0] for step in found.preprocessing]


def test_as_a_stereo_file_of_the_same_sound(models: Models) -> None:
    """What is measured, done and heard is that of a file with both channels."""
    sound = tone(300, channels=2)
    apart = _outcome({"0": wav(sound[:1]), "1": wav(sound[1:])}, models)
    planned = planned_call()
    (together,) = process([planned], lambda _, path: _write(path, wav(sound)), models, load_settings())
    assert isinstance(together, Outcome)
    for name in ("transcript", "signals", "layout", "loudness_lufs", "clipped_ratio", "preprocessing", "duration_s"):
        assert getattr(together, name) == getattr(apart, name), name


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def test_files_of_several_formats(models: Models) -> None:
    """Each is recognised by itself; what was resampled is said."""
    file = io.BytesIO()
    soundfile.write(file, sine(500, 2.0, rate=16_000), 16_000, format="FLAC", subtype="PCM_16")
    found = _outcome({"in.wav": GOOD, "out.bin": file.getvalue()}, models)
    assert found.source is not None
    assert ("pcm_s16le+flac", "wav+flac", 16_000, (1.0, 2.0)) == (
        found.source.codec,
        found.source.container,
        found.source.sampling_rate,
        found.source.channel_s,
    )
    assert "legs(soxr_hq: channel 0 from 8000 to 16000 Hz)" == found.preprocessing[0]


def test_headerless_files(models: Models) -> None:
    """Are read as settings say, each by its own extension."""
    raw = {
        "raw_encoding": "s16le",
        "raw_sampling_rate": 8000,
        "raw_channels": 1,
        "raw_extensions": ["pcm"],
    }
    files = {"in.pcm": (tone(300)[0] * 32767).astype("<i2").tobytes(), "out.wav": OTHER}
    read = load_settings(overrides={"archive": raw})
    (found,) = process([planned_call(_call(files))], _fetching(files, []), models, read)
    assert isinstance(found, Outcome)
    assert ("transcribed", "raw+wav") == (found.kind, found.source and found.source.container)


def test_a_silent_side(models: Models) -> None:
    """As in a stereo file: who is alone on the recording is told apart by voice."""
    found = _outcome({"in.wav": GOOD, "out.wav": wav(0 * tone())}, models)
    assert ("transcribed", "one_sided") == (found.kind, found.layout)


CHANGED = ObjectChanged("it was replaced")


@pytest.mark.parametrize(
    ("files", "code", "named", "digests"),
    [
        ({"a": GOOD, "b": b"", "c": JUNK}, "empty_object", "channel 1, b: the object is empty", 1),
        ({"a": GOOD, "b": JUNK, "c": JUNK}, "undecodable_audio", "channel 1, b: ", 3),
        ({"a": GOOD, "b": CHANGED, "c": b""}, "object_changed", "channel 1, b: it was replaced", 1),
        ({"a": JUNK, "b": CHANGED}, "undecodable_audio", "channel 0, a: ", 1),
        ({"a": STEREO, "b": GOOD}, "not_mono", "channel 0, a: the file has 2 channels", 2),
        ({"a": STEREO, "b": b""}, "not_mono", "channel 0, a: ", 1),
        ({"a": GOOD, "b": wav(tone()[:, :0])}, "zero_length_audio", "channel 1, b: ", 2),
        ({"a": GOOD, "b": GOOD + bytes(10**6)}, "too_large", "channel 1, b: the object has 1,016,044 bytes", 1),
        ({"a": wav(tone(300, 12.0)), "b": JUNK}, "too_long", "channel 0, a: ", 2),
        ({"a": GOOD, "b": OSError(5, "I/O")}, "processing_error", "OSError: ", 1),
    ],
)
def test_a_bad_file_fails_the_call(models: Models, files: Files, code: str, named: str, digests: int) -> None:
    """With the code of the first in order, whatever is wrong with others, and its name; digests of what was read."""
    limits = load_settings(overrides={"archive": {"max_bytes": 10**6, "max_duration_s": 11.0}})
    (found,) = process([planned_call(_call(files))], _fetching(files, []), models, limits)
    assert isinstance(found, Outcome)
    assert found.failure is not None
    assert (code, named) == (found.failure.code, found.failure.message[: len(named)])
    assert (digests, digests == len(files)) == (len(found.leg_sha256), found.audio_sha256 is not None)


def test_a_store_that_says_no_stops_the_run(models: Models) -> None:
    """It is no failure of the call."""
    with pytest.raises(StorageRefused):
        _done({"a": GOOD, "b": StorageRefused("no such bucket")}, models)


def test_copies_of_all_files(models: Models) -> None:
    """They are not decoded again; where one of them is another one, or they have changed places, all are."""
    known = sha256_of_legs([_sha256(GOOD), _sha256(OTHER)])
    copied = _done({"x": GOOD, "y": OTHER}, models, known_sha256=known)
    assert isinstance(copied, CopiedAudio)
    assert (known, (_sha256(GOOD), _sha256(OTHER))) == (copied.audio_sha256, copied.leg_sha256)
    for files in ({"x": GOOD, "y": GOOD}, {"x": OTHER, "y": GOOD}):
        assert isinstance(_done(files, models, known_sha256=known), Outcome)


def test_nothing_is_left_on_scratch_disk(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a call waits for its turn, only its tracks are there."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = {"in.wav": GOOD, "out.wav": OTHER}
    planned: list[PlannedCall] = [planned_call(_call(files))]
    left: list[str] = []

    class Looking(StandInRecognizer):
        """Looks at the scratch disk first."""

        def recognize(self, calls: Sequence[CallSpeech]) -> list[Recognition | Exception]:
            """Look, and hear."""
            left.extend(sorted(path.name for path in tmp_path.rglob("*") if path.is_file()))
            return super().recognize(calls)

    list(process(planned, _fetching(files, []), replace(models, recognizer=Looking()), load_settings()))
    assert ["channel-0.f32", "channel-1.f32"] == left
