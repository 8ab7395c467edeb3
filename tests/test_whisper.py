"""The loaded model as batches see it: spectra, prompts, what the encoder gives in every precision, texts and pieces."""

import ctranslate2
import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given
from hypothesis import strategies as st
from sounds import SECOND, demo, noise
from threadpoolctl import threadpool_limits

from tasks.models import Models
from tasks.records import Samples
from tasks.whisper import (
    MOST_PROMPT_TOKENS,
    WINDOW_FRAMES,
    WINDOW_MARGIN_S,
    WINDOWS_S,
    Decoded,
    Decoding,
    Whisper,
    _as_array,
    _on_host,
    window_frames,
)


@pytest.fixture(scope="module")
def whisper(models: Models) -> Whisper:
    """The starter bundle's model."""
    return models.recognizer._whisper


@pytest.fixture(scope="module")
def greeting() -> Samples:
    """`Thank you for calling …`, from the demo."""
    return demo("05/demo-0001.wav", 6.0).tracks[0].read()


@pytest.mark.parametrize(
    ("kind", "expected"), [("float16", np.float16), ("bfloat16", np.float32), ("float32", np.float32)]
)
def test_what_the_encoder_gives_in_every_precision(kind: str, expected: type) -> None:
    """Values stay as they are, in a type that NumPy has, and go back into a batch."""
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    view = ctranslate2.StorageView.from_array(values).to(getattr(ctranslate2.DataType, kind))
    found = _as_array(view)
    assert (expected, values.tolist()) == (found.dtype, found.tolist())
    assert values.tolist() == np.array(_on_host(list(found))).tolist()


@pytest.mark.parametrize("seconds", [0.05, 1.0, 12.34, 30.0, 31.0])
def test_a_spectrum_is_of_thirty_seconds(whisper: Whisper, seconds: float) -> None:
    """As faster-whisper has it, filled up; what is longer is cut."""
    sound = noise(1, seconds)
    spectrum = whisper.spectrum(sound)
    assert ((80, 3000), np.float32) == (spectrum.shape, spectrum.dtype)
    held = whisper._model.feature_extractor(sound[: 30 * SECOND], padding=160)[:, :3000]
    assert np.array_equal(held, spectrum[:, : held.shape[1]])
    assert not spectrum[:, held.shape[1] :].any()


def test_a_spectrum_is_the_same_on_any_number_of_cores(whisper: Whisper) -> None:
    """To the last bit, however many threads the libraries start; and it is faster-whisper's."""
    sound = noise(2, 30.0)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(whisper.spectrum(sound))
    assert np.array_equal(*found)
    theirs = FeatureExtractor(feature_size=80)(sound, padding=160)[:, :WINDOW_FRAMES]
    np.testing.assert_allclose(theirs, found[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.05, 3.0, 7.9])
def test_a_spectrum_of_a_shorter_window(whisper: Whisper, seconds: float) -> None:
    """It is the beginning of the one of the whole window."""
    sound = noise(1, seconds)
    assert np.array_equal(whisper.spectrum(sound)[:, :1000], whisper.spectrum(sound, 1000))


@given(seconds=st.floats(0, 30), least_s=st.floats(4, 30))
def test_windows_hold_the_chunk_and_silence(seconds: float, least_s: float) -> None:
    """One of a few, so that batches are full: the shortest that is as long as is asked, or the whole one."""
    frames, wanted_s = window_frames(seconds, least_s), max(least_s, seconds + WINDOW_MARGIN_S)
    assert frames in {100 * one for one in WINDOWS_S}
    assert frames == WINDOW_FRAMES or frames >= 100 * wanted_s
    assert not [one for one in WINDOWS_S if wanted_s <= one < frames / 100]


@pytest.mark.parametrize(
    ("seconds", "least_s", "expected"),
    [
        (1, 6, 600),
        (4, 6, 600),
        (4.01, 6, 1000),
        (24, 6, 2600),
        (28, 6, 3000),
        (1, 7, 1000),
        (24.1, 26, 3000),
        (1, 30, 3000),
    ],
)
def test_windows(seconds: float, least_s: float, expected: int) -> None:
    """The next one of those that there are."""
    assert expected == window_frames(seconds, least_s)


def test_prompts(whisper: Whisper) -> None:
    """Language and task, with times or without, after words that may be said; any language is as long as another."""
    plain = whisper.prompt("en", Decoding(5))
    german = whisper.prompt("de", Decoding(5))
    assert (4, 4) == (len(plain), len(german))
    assert [False, True, False, False] == [one != other for one, other in zip(plain, german, strict=True)]
    assert plain[:3] == whisper.prompt("en", Decoding(5, timestamps=True))
    assert plain[2] != whisper.prompt("en", Decoding(5, task="translate"))[2]
    hot = whisper.prompt("en", Decoding(5), ["Brightwell", "Halden"])
    assert plain == hot[-4:]
    assert len(hot) > 8
    many = whisper.prompt("en", Decoding(5), ["Brightwell"] * 300)
    assert MOST_PROMPT_TOKENS + 1 + 4 == len(many)


def test_a_batch_of_languages(whisper: Whisper, greeting: Samples) -> None:
    """Each chunk has its own odds, and they add up to one."""
    encoded = whisper.encode([whisper.spectrum(greeting), whisper.spectrum(greeting[: 2 * SECOND])])
    assert [(1500, whisper.dimension())] * 2 == [one.shape for one in encoded]
    for odds in whisper.languages(encoded):
        assert pytest.approx(1.0, abs=1e-3) == sum(odds.values())
        assert "en" == max(odds, key=lambda name: odds[name])


def test_texts_and_pieces(whisper: Whisper, greeting: Samples) -> None:
    """What is said, how likely, and when: pieces are in order and make the text."""
    encoded = whisper.encode([whisper.spectrum(greeting)])
    decoding = Decoding(beam_size=5)
    (decoded,) = whisper.decode(encoded, [whisper.prompt("en", decoding)], decoding)
    assert "thank you for calling" in decoded.text.lower()
    assert -0.5 < decoded.avg_logprob < 0
    assert decoded.no_speech_prob < 0.5
    (pieces,) = whisper.align(encoded, [decoded], [600], "en")
    assert decoded.text == "".join(piece.text for piece in pieces)
    assert all(0 <= piece.start <= piece.end <= 6.02 for piece in pieces)
    assert all(0 < piece.probability <= 1 for piece in pieces)


def test_a_chunk_that_the_aligner_trips_over(
    whisper: Whisper, greeting: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no pieces; the others of its batch have theirs."""
    encoded = whisper.encode([whisper.spectrum(greeting), whisper.spectrum(greeting[:100])])
    decoding = Decoding(beam_size=5)
    decoded = whisper.decode(encoded, [whisper.prompt("en", decoding)] * 2, decoding)
    said = (decoded[0], decoded[0])
    alone = whisper.align(encoded[:1], said[:1], [600], "en")[0]
    aligner = whisper._model.find_alignment

    def tripping(tokenizer: object, texts: list[list[int]], encoded: object, frames: list[int]) -> list[list[dict]]:
        if min(frames) < 2:
            message = "boolean index did not match indexed array"
            raise IndexError(message)
        return aligner(tokenizer, texts, encoded, frames)

    monkeypatch.setattr(whisper._model, "find_alignment", tripping)
    assert [alone, []] == whisper.align(encoded, said, [600, 1], "en")
    assert [[], alone] == whisper.align(encoded[::-1], said, [1, 600], "en")


@pytest.mark.parametrize(("text", "most"), [("", 0.0), ("All right.", 1.0), ("no " * 50, 99.0)])
def test_the_compression_of_a_text(text: str, most: float) -> None:
    """Nothing has none, a sentence hardly any, a loop much."""
    found = Decoded((), text, -0.1, 0.0).compression_ratio
    assert found <= most
    assert (found > 2.4) == (most > 2.4)
