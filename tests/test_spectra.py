"""Spectra: each computed once, a few ahead, from any thread; what fails is told to who asks for it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier, Lock

import numpy as np
import pytest
from builders import region
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SECOND, track
from speech import UNREAD, heard_chunk

from tasks.heard import HeardChunk
from tasks.spectra import Spectra
from tasks.tracks import Track
from tasks.whisper import Spectrum

CHUNKS = 12


@dataclass
class Transform:
    """Takes the first sample for the spectrum, and remembers what it was given.

    `wrong` is a sample that it raises on.
    """

    wrong: float = -1.0
    given: list[float] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def __call__(self, heard: HeardChunk) -> Spectrum:
        """The first sample."""
        samples = heard.chunk.read(heard.source.track)
        with self.lock:
            self.given.append(float(samples[0]))
        if samples[0] == self.wrong:
            message = "a spectrum of this cannot be had"
            raise ValueError(message)
        return samples[:1]


@pytest.fixture(scope="module")
def steps() -> Track:
    """Seconds of which each holds its number."""
    return track(np.repeat(np.arange(CHUNKS, dtype=np.float32), SECOND))


def chunks(source: Track, count: int = CHUNKS) -> list[HeardChunk]:
    """A chunk of each second."""
    return [heard_chunk(region(second, second + 1), track=source) for second in range(count)]


def settled(pool: ThreadPoolExecutor, workers: int) -> None:
    """Wait until all that was begun is done: each worker has come for more."""
    together = Barrier(workers + 1, timeout=60)
    for _ in range(workers):
        pool.submit(together.wait)
    together.wait()


def test_a_spectrum_is_that_of_the_chunk(steps: Track) -> None:
    """Of its samples; in whatever order they are asked for."""
    held = chunks(steps)
    with ThreadPoolExecutor(2) as pool:
        spectra = Spectra(pool, Transform(), held, 3)
        assert [5, 0, 11, 4] == [spectra.of(held[index])[0] for index in (5, 0, 11, 4)]


@pytest.mark.parametrize("ahead", [0, 1, 3, CHUNKS, 100])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_than_a_few_ahead(steps: Track, ahead: int, workers: int) -> None:
    """As many as may be are begun with the first that is asked for, and one more for each that is done."""
    held, transform = chunks(steps), Transform()
    with ThreadPoolExecutor(workers) as pool:
        spectra = Spectra(pool, transform, held, ahead)
        settled(pool, workers)
        assert [] == transform.given, "nothing is begun before the first is asked for"
        for done, heard in enumerate(held):
            assert done == spectra.of(heard)[0]
            settled(pool, workers)
            assert min(done + max(ahead, 1), CHUNKS) == len(transform.given)
            spectra.done(heard)
    assert list(range(CHUNKS)) == sorted(transform.given)


def test_asking_again_computes_nothing(steps: Track) -> None:
    """A batch that is tried in halves asks for the same again."""
    held, transform = chunks(steps), Transform()
    with ThreadPoolExecutor(2) as pool:
        spectra = Spectra(pool, transform, held, 4)
        for _ in range(3):
            assert [0, 1, 2, 3, 4, 5] == [spectra.of(heard)[0] for heard in held[:6]]
    assert [0, 1, 2, 3, 4, 5] == sorted(transform.given)


def test_letting_go_of_what_is_not_held(steps: Track) -> None:
    """Twice, or before it was begun: nothing happens."""
    held, transform = chunks(steps, 2), Transform()
    with ThreadPoolExecutor(1) as pool:
        spectra = Spectra(pool, transform, held, 1)
        spectra.of(held[0])
        for heard in (held[0], held[0], held[1]):
            spectra.done(heard)
        assert 1 == spectra.of(held[1])[0]
    assert [0, 1] == transform.given


@given(
    order=st.permutations(range(CHUNKS)),
    again=st.lists(st.integers(0, CHUNKS - 1), max_size=6),
    ahead=st.integers(0, 14),
)
@settings(max_examples=40, deadline=None)
def test_each_is_computed_once(steps: Track, order: list[int], again: list[int], ahead: int) -> None:
    """In whatever order they are asked for, some of them several times, and let go of at the end."""
    held, transform = chunks(steps), Transform()
    with ThreadPoolExecutor(2) as pool:
        spectra = Spectra(pool, transform, held, ahead)
        asked = [*again, *order]
        assert asked == [spectra.of(held[index])[0] for index in asked]
    assert list(range(CHUNKS)) == sorted(transform.given)


def test_from_two_threads(steps: Track) -> None:
    """Two that ask for the same chunks at the same time get them, each computed once."""
    held, transform = chunks(steps), Transform()
    together = Barrier(2, timeout=60)

    def ask(order: list[HeardChunk]) -> list[float]:
        found = []
        for heard in order:
            together.wait()
            found.append(float(spectra.of(heard)[0]))
        return found

    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as askers:
        spectra = Spectra(pool, transform, held, 4)
        one, other = askers.submit(ask, held), askers.submit(ask, held[::-1])
        assert list(range(CHUNKS)) == one.result(60) == other.result(60)[::-1]
    assert list(range(CHUNKS)) == sorted(transform.given)


def test_two_threads_share_the_work(steps: Track) -> None:
    """Each asks for chunks of its own and lets go of them."""
    held, transform = chunks(steps), Transform()

    def work(own: list[HeardChunk]) -> list[float]:
        found = []
        for heard in own:
            found.append(float(spectra.of(heard)[0]))
            spectra.done(heard)
        return found

    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as workers:
        spectra = Spectra(pool, transform, held, 4)
        one, other = workers.submit(work, held[0::2]), workers.submit(work, held[1::2])
        assert list(range(CHUNKS)) == sorted(one.result(60) + other.result(60))
    assert list(range(CHUNKS)) == sorted(transform.given)


def test_sound_that_cannot_be_read(steps: Track) -> None:
    """The error comes to who asks for that chunk, as often as it is asked for; the others have theirs."""
    held = chunks(steps, 4)
    held[2] = heard_chunk(track=UNREAD)
    with ThreadPoolExecutor(2) as pool:
        spectra = Spectra(pool, Transform(), held, 4)
        assert [0, 1, 3] == [spectra.of(held[index])[0] for index in (0, 1, 3)]
        for _ in range(2):
            with pytest.raises(OSError, match="no/such/file"):
                spectra.of(held[2])


def test_a_transform_that_fails(steps: Track) -> None:
    """What was computed ahead and failed is no error before it is asked for."""
    held = chunks(steps, 4)
    with ThreadPoolExecutor(2) as pool:
        spectra = Spectra(pool, Transform(wrong=1.0), held, 4)
        assert 0 == spectra.of(held[0])[0]
        settled(pool, 2)
        assert 2 == spectra.of(held[2])[0]
        with pytest.raises(ValueError, match="cannot be had"):
            spectra.of(held[1])
