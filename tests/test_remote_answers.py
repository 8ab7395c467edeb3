"""What endpoints answer, read: words with the punctuation of the text, and times; and what is no answer."""

import json
from typing import Any

import pytest
from fake_endpoint import verbose_json

from tasks.language_names import language_code
from tasks.remote_answers import Answer, parse_answer


def _parsed(body: object) -> Answer:
    found = parse_answer(json.dumps(body).encode())
    assert isinstance(found, Answer)
    return found


def _segment(text: str, start: float = 0.0, end: float = 2.0, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"start": start, "end": end, "text": text, "avg_logprob": -0.5, "no_speech_prob": 0.1, **more}


def _word(word: str, start: float, end: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"word": word, "start": start, "end": end, **more}


def _texts(answer: Answer) -> list[list[str]]:
    return [[word.text for word in segment.words or ()] for segment in answer.segments]


def test_words_have_the_punctuation_of_the_text() -> None:
    """OpenAI's words have none; sentences and amounts hang on it."""
    found = _parsed(verbose_json("Good morning. That is $142.50, please - now!", 8.0))
    assert [["Good", "morning."], ["That", "is", "$142.50,", "please -", "now!"]] == _texts(found)
    assert "en" == found.language
    first = found.segments[0].words
    assert first is not None
    assert [(0.0, 0.9), (1.0, 1.9)] == [(word.start, round(word.end, 6)) for word in first]


def test_pieces_of_a_word_become_one() -> None:
    """What stands between two spaces is a word, from its first piece to its last, as sure as its least sure one."""
    words = [_word(" $142", 0.0, 0.4, probability=0.9), _word(".50", 0.4, 1.0, probability=0.6)]
    (segment,) = _parsed({"text": "$142.50", "segments": [_segment(" $142.50", words=words)]}).segments
    (word,) = segment.words or ()
    assert ("$142.50", 0.0, 1.0, 0.6) == (word.text, word.start, word.end, word.probability)


def test_words_of_segments() -> None:
    """Some servers have words in their segments, with a space before and punctuation."""
    segments = [
        _segment(" Hello there.", words=[_word(" Hello", 0, 0.5), _word(" there.", 0.5, 1)]),
        _segment(" Bye.", 1, 2, words=[_word(" Bye.", 1, 1.5)]),
    ]
    assert [["Hello", "there."], ["Bye."]] == _texts(_parsed({"text": "Hello there. Bye.", "segments": segments}))


def test_words_that_are_not_those_of_the_text() -> None:
    """They are taken as they are, each in the segment that it lies in or near."""
    body = {
        "text": "You owe me five. Yes.",
        "segments": [_segment(" You owe me five.", 0, 2), _segment(" Yes.", 2, 3)],
        "words": [_word("you", 0, 0.5), _word("owe", 0.5, 1), _word("5", 1.5, 2), _word("yes", 3.5, 4)],
    }
    assert [["you", "owe", "5"], ["yes"]] == _texts(_parsed(body))


def test_languages_without_spaces() -> None:
    """The endpoint's words are kept, and take the marks that follow them."""
    words = [_word("こん", 0, 0.5), _word("にちは", 0.5, 1.0), _word("元気", 1.0, 1.5)]
    body = {"text": "", "language": "japanese", "segments": [_segment("こんにちは。元気?")], "words": words}
    assert [["こん", "にちは。", "元気?"]] == _texts(_parsed(body))


def test_marks_that_combine() -> None:
    """Letters that are written with marks of their own (Hindi) are one word."""
    words = [_word("नमस्ते", 0, 1), _word("जी", 1, 2)]
    body = {"text": "x", "language": "hindi", "segments": [_segment(" नमस्ते जी।")], "words": words}
    assert [["नमस्ते", "जी।"]] == _texts(_parsed(body))


def test_an_answer_without_word_times() -> None:
    """It says so, and words can be spread over their segments by their letters."""
    found = _parsed({"text": "Good day", "segments": [_segment(" Good day", 1.0, 8.0)]})
    assert not found.has_word_times
    spread = found.segments[0].spread("en")
    assert [("Good", 1.0, 5.0), ("day", 5.0, 8.0)] == [(word.text, word.start, word.end) for word in spread]
    assert ["元", "気"] == [word.text for word in found.segments[0].__class__(0, 1, "元気", -1, 0, None).spread("ja")]


def test_silence() -> None:
    """No text needs no words and no segments."""
    assert _parsed({"text": "", "segments": []}).has_word_times
    assert _parsed({"text": " ", "segments": [_segment(" ")], "words": []}).has_word_times
    assert _parsed({"text": "", "language": "english"}).has_word_times


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"<html>zarquonflute</html>", "body: json_invalid"),
        (b'{"text": "zarquonflute"', "body: json_invalid"),
        (b'["zarquonflute"]', "body: model_type"),
        (b"", "body: json_invalid"),
        (json.dumps({"text": "zarquonflute"}).encode(), "segments: missing"),
        (json.dumps({"text": 1, "segments": []}).encode(), "text: string_type"),
        (json.dumps({"text": "a", "segments": [{"start": 0, "end": 1, "text": "zarquonflute"}]}).encode(),
         "segments.0.avg_logprob: missing"),
        (json.dumps({"text": "a", "segments": [_segment("zarquonflute", end=-1.0)]}).encode(),
         "segments.0.end: greater_than_equal"),
        (json.dumps({"text": "a", "segments": [_segment("zarquonflute", float("nan"))]}).encode(),
         "segments.0.start: finite_number"),
    ],
)  # fmt: skip
def test_what_is_no_answer(body: bytes, wrong: str) -> None:
    """Said by the place of what is wrong, without anything that was recognised."""
    assert wrong == parse_answer(body)


@pytest.mark.parametrize(
    ("name", "code"),
    [("english", "en"), ("English", "en"), ("en", "en"), ("lao", "lo"), ("haitian creole", "ht"), ("yue", "yue"),
     ("klingon", None), ("", None), (None, None)],
)  # fmt: skip
def test_names_of_languages(name: str | None, code: str | None) -> None:
    """In English, or as codes."""
    assert code == language_code(name)
