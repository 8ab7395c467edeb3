"""The fallback recogniser: speech out, words of the call back, with our own evidence held against them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_endpoint import SPOKEN, FakeEndpoint, Reply, Request, error, fake_endpoint, says, verbose_json
from sounds import SECOND, noise, track

from tasks.errors import FallbackRefused, FallbackRejected, FallbackUnavailable
from tasks.heard import CallSpeech, ChannelSpeech
from tasks.records import CallHints, Recognition, Region
from tasks.remote_recognizer import APPROXIMATE_TIMES, RemoteRecognizer
from tasks.setting_groups import RecognizerSettings
from tasks.tracks import Track


@pytest.fixture
def server() -> Iterator[FakeEndpoint]:
    """A server that says `SPOKEN`."""
    with fake_endpoint() as found:
        yield found


def _recognizer(server: FakeEndpoint, hot_words: tuple[str, ...] = (), **changes: Any) -> RemoteRecognizer:  # noqa: ANN401
    return RemoteRecognizer(server.settings(**changes), RecognizerSettings(hot_words=hot_words))


def _call(
    *channels: tuple[Track, tuple[Region, ...]],
    hints: CallHints | None = None,
    voices: tuple[Region, ...] | None = None,
) -> CallSpeech:
    """A call whose regions are full of voice, unless voices are given."""
    held = tuple(ChannelSpeech(sound, regions, regions if voices is None else voices) for sound, regions in channels)
    return CallSpeech(held, hints or CallHints())


def _one(found: list[Recognition | Exception]) -> Recognition:
    (recognition,) = found
    assert isinstance(recognition, Recognition), recognition
    return recognition


def test_only_speech_is_sent_and_times_are_those_of_the_call(server: FakeEndpoint) -> None:
    """Two regions of a minute: six seconds are sent; words lie in the regions, one after the other."""
    regions = (Region(10.0, 14.0), Region(40.0, 42.0))
    found = _one(_recognizer(server).recognize([_call((track(noise(seconds=60)), regions))]))
    (request,) = server.requests
    assert 6.0 == request.seconds
    words = [word for segment in found.segments for word in segment.words]
    assert SPOKEN.split() == [word.text for word in words]
    assert [10.0, 11.0, 12.0, 13.0, 40.0, 41.0] == [word.start for word in words]
    assert all(any(region.start <= word.start <= word.end <= region.end for region in regions) for word in words)
    assert [("Zarquonflute, indeed.", 0), ("It costs $142.50 today.", 0)] == [
        (s.text, s.channel) for s in found.segments
    ]
    assert ("en", None, {"en": 1.0}, 2) == (
        found.language, found.language_probability, found.languages, found.counts.chunks
    )  # fmt: skip
    assert {-0.25} == {segment.avg_logprob for segment in found.segments}
    assert {round(np.exp(-0.25), 6)} == {round(word.probability, 6) for word in words}


def test_channels_are_sent_apart(server: FakeEndpoint) -> None:
    """A stereo call is two requests, and each word knows its channel."""
    sounds = [(track(noise(seed, 5)), (Region(seed, seed + 2.0),)) for seed in (1, 2)]
    found = _one(_recognizer(server).recognize([_call(*sounds)]))
    assert [2.0, 2.0] == [request.seconds for request in server.requests]
    assert [0, 0, 1, 1] == sorted(segment.channel for segment in found.segments)
    assert sorted(found.segments, key=lambda one: (one.start, one.channel)) == list(found.segments)


def test_a_long_call_is_sent_in_parts(server: FakeEndpoint) -> None:
    """None is longer than settings say, also where somebody speaks without a pause."""
    found = _one(_recognizer(server, chunk_s=5.0).recognize([_call((track(noise(seconds=32)), (Region(1.0, 31.0),)))]))
    assert all(request.seconds <= 5.0 for request in server.requests)
    assert 30.0 == pytest.approx(sum(request.seconds for request in server.requests))
    words = [word for segment in found.segments for word in segment.words]
    assert len(SPOKEN.split()) * len(server.requests) == len(words)
    assert [word.start for word in words] == sorted(word.start for word in words)


def test_the_limit_of_an_upload_holds(server: FakeEndpoint) -> None:
    """Of sound that cannot be made smaller, less is sent at a time."""
    _recognizer(server, max_upload_bytes=1_000_000).recognize([_call((track(noise(seconds=70)), (Region(0.0, 70.0),)))])
    assert 3 == len(server.requests)
    assert all(request.bytes <= 1_000_000 for request in server.requests)


def test_what_is_known_of_a_call_is_told(server: FakeEndpoint) -> None:
    """Its language, or the only one that occurs; hot words of all calls and of this one."""
    sound = (track(noise(seconds=3)), (Region(0.0, 2.0),))
    hints = [
        CallHints(language="de", hot_words=("Grey",)),
        CallHints(languages=("fr",)),
        CallHints(languages=("fr", "de")),
    ]
    recognizer = _recognizer(server, hot_words=("ACME",), parallel=1)
    found = [recognizer.recognize([_call(sound, hints=each)])[0] for each in hints]
    told = [(request.fields.get("language"), request.fields["prompt"]) for request in server.requests]
    assert [(["de"], ["ACME, Grey"]), (["fr"], ["ACME"]), (None, ["ACME"])] == told
    assert ["de", "fr", "en"] == [one.language for one in found if isinstance(one, Recognition)]


def test_a_language_that_nobody_knows(server: FakeEndpoint) -> None:
    """It is undetermined, and no language is invented."""
    server.always = says(language="klingon")
    found = _one(_recognizer(server).recognize([_call((track(noise(seconds=3)), (Region(0.0, 2.0),)))]))
    assert ("und", {"und": 1.0}) == (found.language, found.languages)


def test_a_call_fails_alone(server: FakeEndpoint, tmp_path: Path) -> None:
    """What the endpoint does not take, what it does not answer, and what cannot be read are each one call's failure."""

    def answer(request: Request) -> Reply:
        return {1.0: error(400, "no"), 1.5: error(503)}.get(request.seconds) or says()(request)

    server.always = answer
    lengths = (2.0, 1.0, 1.5, 3.0)
    calls = [_call((track(noise(seconds=4)), (Region(0.0, length),))) for length in lengths]
    calls.append(_call((Track(tmp_path / "gone", 4 * SECOND), (Region(0.0, 2.0),))))
    found = _recognizer(server).recognize(calls)
    kinds = [Recognition, FallbackRejected, FallbackUnavailable, Recognition, FileNotFoundError]
    assert kinds == [type(one) for one in found]


def test_nothing_more_is_sent_of_a_call_that_failed(server: FakeEndpoint) -> None:
    """Its other parts would be sent for nothing."""
    server.always = lambda _: error(400)
    call = _call((track(noise(seconds=200)), (Region(0.0, 200.0),)))
    (found,) = _recognizer(server, chunk_s=5.0, parallel=1).recognize([call])
    assert isinstance(found, FallbackRejected)
    assert 1 == len(server.requests)


def test_a_refusal_ends_it(server: FakeEndpoint) -> None:
    """Nothing more is sent to who refuses us, and the job stops."""
    server.always = lambda _: error(401)
    calls = [_call((track(noise(seconds=3)), (Region(0.0, 2.0),))) for _ in range(10)]
    with pytest.raises(FallbackRefused):
        _recognizer(server, parallel=1).recognize(calls)
    assert 1 == len(server.requests)


def test_what_is_written_where_nobody_speaks_is_set_aside(server: FakeEndpoint) -> None:
    """By the rules for our own recogniser: no voice, or a decoder that doubts itself."""
    sound = (track(noise(seconds=8)), (Region(0.0, 6.0),))
    silent = _one(_recognizer(server).recognize([_call(sound, voices=())]))
    assert ([], {"no_voice"}) == ([*silent.segments], {one.reason for one in silent.set_aside})
    assert len(SPOKEN.split()) == silent.counts.set_aside_words

    def doubting(request: Request) -> Reply:
        body = verbose_json(SPOKEN, request.seconds)
        body["segments"][0] |= {"no_speech_prob": 0.9, "avg_logprob": -0.9}
        return Reply(body=body)

    server.always = doubting
    found = _one(_recognizer(server).recognize([_call(sound)]))
    assert ["It costs $142.50 today."] == [segment.text for segment in found.segments]
    assert [("Zarquonflute, indeed.", "no_speech")] == [(one.text, one.reason) for one in found.set_aside]


def test_doubts_are_flagged(server: FakeEndpoint) -> None:
    """What repeats itself is repetitive, whoever wrote it."""
    server.always = says("no no no no no no no no no no.")
    found = _one(_recognizer(server).recognize([_call((track(noise(seconds=8)), (Region(0.0, 6.0),)))]))
    assert "repetitive" in found.segments[0].flags
    assert 1 == found.counts.suspicious


def test_spread_times_are_flagged(server: FakeEndpoint) -> None:
    """Nobody takes guessed times for measured ones."""
    server.always = says(word_times=False)
    sound = (track(noise(seconds=8)), (Region(0.0, 6.0),))
    found = _one(_recognizer(server, word_times="spread").recognize([_call(sound)]))
    assert SPOKEN.split() == [word.text for segment in found.segments for word in segment.words]
    assert all(APPROXIMATE_TIMES in segment.flags for segment in found.segments)


def test_a_call_without_speech_is_not_sent(server: FakeEndpoint) -> None:
    """There is nothing to recognise in it."""
    found = _one(_recognizer(server).recognize([_call((track(noise(seconds=8)), ()))]))
    assert ((), None, 0) == (found.segments, found.language, found.counts.chunks)
    assert [] == server.requests


def test_one_channel_alone(server: FakeEndpoint) -> None:
    """As noise reduction tries it."""
    found = _recognizer(server).transcribe(track(noise(seconds=8)), (Region(0.0, 6.0),), 1, "en")
    assert {1} == {segment.channel for segment in found}
    server.always = lambda _: error(400)
    with pytest.raises(FallbackRejected):
        _recognizer(server).transcribe(track(noise(seconds=8)), (Region(0.0, 6.0),), 1, "en")


def test_the_gain_of_a_track_is_heard(server: FakeEndpoint) -> None:
    """What is sent is what our own recogniser would hear."""
    quiet = track(noise(seconds=3, level=0.01))
    _recognizer(server).recognize([_call((replace(quiet, gain=10.0), (Region(0.0, 2.0),)))])
    assert np.allclose(10 * quiet.read(0, 2 * SECOND), server.requests[0].samples, atol=1e-4)
