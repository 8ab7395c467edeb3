"""The queries of docs/queries.md: each is executed, answers, and says what it says it does."""

import re
from pathlib import Path
from typing import Any

import pytest
from queried_months import fill

from flows.docs import ROOT
from tasks.query import run_query
from tasks.storage import Storage, open_storage

QUERY = re.compile(
    r"^### (?P<number>\d+)\. (?P<title>[^\n]+)\n\n(?P<question>[^`#]+?)\n\n```sql\n(?P<sql>.+?)```",
    re.MULTILINE | re.DOTALL,
)
QUERIES = list(QUERY.finditer((ROOT / "docs" / "queries.md").read_text(encoding="utf-8")))
# What some of them must answer: the first columns of every row.
ANSWERS: dict[int, list[tuple[Any, ...]]] = {
    2: [("pauses",)],
    3: [("7", 1, 0, 1), ("8", 0, 0, 0)],
    4: [
        ("cancels", "customer", 5.0, "Hello. I want to CANCEL, my contract!", "Or I go to the ombudsman."),
        ("pauses", "customer", 5.0),
    ],
    5: [("cancels", 1), ("cancels", 2), ("cancels", 3), ("cancels", 4)],
    6: [("pauses", "customer", 15.0)],
    8: [("2026-09", 2, 1, 50.0), ("2026-10", 4, 1, 25.0)],
    10: [("7", 2, 67.5), ("8", 2, 60.0)],
    11: [("pauses",)],
    12: [("7", 2, 60.0, 1.5), ("8", 2, 0.0, 1.5)],
    13: [(11, 1), (12, 2), (13, 1), (14, 3), (16, 1)],
    14: [
        ("2026-09", "en", 0.0556, 2, 0),
        ("2026-10", "en", 0.0833, 3, 0),
        ("2026-10", "tr", 0.0208, 1, 1),
        ("2026-10", "de", 0.0069, 1, 1),
    ],
    15: [("turkish", "customer", "tr", "Fatura hatali.", "My invoice is wrong.")],
    16: [
        ("2026-10", "object_refused", 2, "refused", "the store refuses"),
        ("2026-10", "undecodable_audio", 1, "damaged", "it does not decode"),
    ],
    17: [("low_confidence", 2, 0.07), ("uncovered_speech", 1, 0.03)],
    18: [("pcm_mulaw", 8000, 30.0, 4, 0.9)],
    20: [("2026-09", 1, 0.07, 0.5, 0.4, 1.6, 0), ("2026-10", 1, 0.14, 0.75, 0.4, 3.0, 3)],
    21: [
        ("2026-09", None, "whisper", 2, 100.0),
        ("2026-10", None, "whisper", 4, 80.0),
        ("2026-10", "fallback", "openai:speech.example.com/listener", 1, 20.0),
    ],
}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """The small data set in a folder."""
    found = open_storage(tmp_path_factory.mktemp("transcripts").as_uri())
    fill(found)
    return found


def test_there_are_twenty_one() -> None:
    """Numbered, each with a question, and nothing else on the page is SQL."""
    page = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")
    assert list(range(1, 22)) == [int(query["number"]) for query in QUERIES]
    assert 21 == page.count("```sql")
    assert [] == [query["title"] for query in QUERIES if "?" not in query["question"]]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query["number"])
def test_a_query_answers(storage: Storage, query: re.Match[str]) -> None:
    """It is executed, has rows, and where its answer is known here, that answer."""
    _, rows = run_query(storage, query["sql"])
    assert rows
    expected = ANSWERS.get(int(query["number"]))
    if expected is not None:
        assert expected == [row[: len(want)] for want, row in zip(expected, rows, strict=True)]


def test_a_phrase_with_punctuation_within(storage: Storage) -> None:
    """The first query finds words in their order, whatever stands between them, and in any case."""
    _, rows = run_query(storage, QUERIES[0]["sql"])
    assert [("cancels", "customer", 5.0, "Hello. I want to CANCEL, my contract!")] == [row[1:] for row in rows]


def test_new_words(storage: Storage) -> None:
    """A word of two calls in October that nobody said in September."""
    _, rows = run_query(storage, QUERIES[6]["sql"])
    assert ("contract", 2) in rows
    assert "thank" not in dict(rows)


def test_the_moment_of_a_word(storage: Storage) -> None:
    """Punctuation is no part of a word that is looked for."""
    _, rows = run_query(storage, QUERIES[8]["sql"])
    assert [("cancels", "contract!"), ("pauses", "contract,")] == [(row[0], row[2]) for row in rows]


def test_the_same_recording_twice(storage: Storage) -> None:
    """Two calls of the same bytes are named."""
    _, rows = run_query(storage, QUERIES[18]["sql"])
    assert ["cancels", "copied"] in [row[2] for row in rows]


def test_the_page_says_where_a_phrase_is_explained() -> None:
    """The heading that it links to is there."""
    assert "## Searching phrases" in Path(ROOT / "docs" / "data-set.md").read_text(encoding="utf-8")
