"""Translation: every utterance from its own sound, in batches over all, beside the original."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
from builders import region
from sounds import SECOND, demo, noise, track

from tasks.heard import CHUNKS_AT_A_TIME, HeardChunk
from tasks.models import Models
from tasks.records import CallHints
from tasks.translate import MARGIN_S, Spoken, translate, wanted
from tasks.whisper import Decoded, Decoding


@dataclass
class FakeSteps:
    """Writes of each chunk where it lies; fails those that begin at `fails`."""

    fails: float | None = None
    loads: list[int] = field(default_factory=list)
    decodings: list[Decoding] = field(default_factory=list)
    hints: list[CallHints] = field(default_factory=list)

    def decoding(self) -> Decoding:
        """A beam of 5."""
        return Decoding(beam_size=5)

    def encode(self, load: Sequence[HeardChunk], pool: ThreadPoolExecutor) -> None:
        """Something for each chunk."""
        del pool
        self.loads.append(len(load))
        for heard in load:
            heard.encoded = np.zeros((1, 1), dtype=np.float32)
            if heard.chunk.start == self.fails:
                heard.error = RuntimeError("no")

    def write(self, load: Sequence[HeardChunk]) -> None:
        """The language and place of each chunk."""
        self.decodings += {heard.decoding or self.decoding() for heard in load}
        for heard in load:
            self.hints.append(heard.hints)
            text = f" {heard.language} {heard.chunk.start:.1f}-{heard.chunk.end:.1f}"
            heard.decoded = Decoded((1,), text, -0.3, 0.0)


@pytest.mark.parametrize(
    ("language", "languages", "expected"),
    [
        ("de", ("de",), True),
        ("de", ("*",), True),
        ("de", ("fr", "es"), False),
        ("de", (), False),
        ("en", ("*", "en"), False),
        (None, ("*",), False),
    ],
)
def test_what_is_translated(language: str | None, languages: tuple[str, ...], expected: bool) -> None:
    """What is named, or all; English never."""
    assert expected == wanted(language, languages)


def test_every_utterance_has_its_own_translation() -> None:
    """From its own sound with a little margin, inside of the call; results stay in order."""
    sound, steps = track(noise(1, 60.0)), FakeSteps()
    hints = CallHints(hot_words=("Halden",))
    spoken = [
        Spoken(sound, region(0.1, 2.0), "de"), Spoken(sound, region(30, 40), "fr", hints),
        Spoken(sound, region(58, 60), "es"),
    ]  # fmt: skip
    assert ["de 0.0-2.3", "fr 29.7-40.3", "es 57.7-60.0"] == translate(steps, spoken, 28.0)
    assert [Decoding(beam_size=5, task="translate")] == steps.decodings
    assert [CallHints(), hints, CallHints()] == steps.hints
    assert MARGIN_S == pytest.approx(0.3)


def test_a_long_utterance_is_translated_in_pieces() -> None:
    """Of more than a chunk, the pieces' translations are joined, in order."""
    (found,) = translate(FakeSteps(), [Spoken(track(noise(1, 60.0)), region(5, 50), "de")], 28.0)
    parts = found.split("de ")[1:]
    assert 2 == len(parts)
    assert parts[0].startswith("4.7-")
    assert parts[1].strip().endswith("-50.3")


def test_what_fails_has_no_translation() -> None:
    """The others have theirs."""
    sound = track(noise(1, 30.0))
    spoken = [Spoken(sound, region(start, start + 2), "de") for start in (1.3, 10.3, 20.3)]
    found = translate(FakeSteps(fails=spoken[1].region.start - MARGIN_S), spoken, 28.0)
    assert [True, False, True] == [text is not None for text in found]


def test_many_utterances_are_done_in_loads() -> None:
    """So that no more is held at a time than in recognition."""
    sound, steps = track(noise(1, 5.0)), FakeSteps()
    found = translate(steps, [Spoken(sound, region(1, 2), "de")] * (2 * CHUNKS_AT_A_TIME + 1), 28.0)
    assert 2 * CHUNKS_AT_A_TIME + 1 == len(found)
    assert max(steps.loads) <= CHUNKS_AT_A_TIME


def test_nothing_to_translate() -> None:
    """Nothing in, nothing out."""
    assert [] == translate(FakeSteps(), [], 28.0)


def test_a_real_translation(models: Models) -> None:
    """The starter model, told to translate an utterance, writes English."""
    call = demo("05/demo-0001.wav", 6.0)
    (found,) = translate(models.recognizer, [Spoken(call.tracks[0], region(0.2, 4.5), "en")], 28.0)
    assert "thank you for calling" in found.lower()
    assert call.tracks[0].samples == 6 * SECOND
