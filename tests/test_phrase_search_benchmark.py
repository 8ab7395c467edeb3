"""The benchmark of phrase searches: what it makes up, how it cuts it into shards, and what it measures."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from evaluation.benchmarks.made_up_calls import (
    COMPLAINS_EVERY,
    COMPLAINT,
    GREETING,
    call_id_of,
    made_up_call,
    template_rows,
    vocabulary,
)
from evaluation.benchmarks.phrase_search import QUERIES, ask, build_shard, merge_shards, size_of
from tasks.query import run_query
from tasks.rows import CallRows
from tasks.schemas import CALLS, UTTERANCES
from tasks.storage import open_storage
from tasks.views import Reader

pytestmark = pytest.mark.long

CALLS_MADE = 60


@pytest.fixture(scope="module")
def template() -> CallRows:
    """Rows of which others are made."""
    return template_rows()


def test_a_call_is_always_the_same(template: CallRows) -> None:
    """By its number alone; its rows have the columns of the tables, and its words follow each other."""
    call = made_up_call(3, template)
    assert made_up_call(3, template) == call != made_up_call(4, template)
    assert set(CALLS.names) == set(call.call)
    assert {frozenset(UTTERANCES.names)} == {frozenset(row) for row in call.utterances}
    words = [word for row in call.utterances for word in row["words"]]
    assert len(words) == call.call["words"]
    assert all(before["end"] <= after["start"] + 1e-9 for before, after in pairwise(words))
    assert [row["text"] for row in call.utterances] == [
        " ".join(word["text"] for word in row["words"]) for row in call.utterances
    ]


def test_what_is_certain_to_be_said(template: CallRows) -> None:
    """Every call has its notice, and some a complaint."""
    texts = [[row["text"] for row in made_up_call(number, template).utterances] for number in range(COMPLAINS_EVERY)]
    assert {GREETING} == {one[1] for one in texts}
    assert [0] == [number for number, one in enumerate(texts) if COMPLAINT in one]


def test_words_are_as_frequent_as_words_are(template: CallRows) -> None:
    """The most frequent one comes about twice as often as the second; most are seldom."""
    spoken = [
        word["text"].strip(",.").lower()
        for number in range(40)
        for row in made_up_call(number, template).utterances
        for word in row["words"]
    ]
    words, counts = np.unique(spoken, return_counts=True)
    found = dict(zip(words.tolist(), counts.tolist(), strict=True))
    first, second = vocabulary()[:2]
    assert 1.6 < found[first] / found[second] < 2.4
    assert np.median(counts) <= 2


def test_shards_that_are_put_together_hold_the_same(tmp_path: Path) -> None:
    """A month in two shards is one in four, and every query has the same answer."""
    uris = [(tmp_path / str(shards)).as_uri() for shards in (4, 2)]
    for uri in uris:
        Path(uri.removeprefix("file://")).mkdir()
    for shard in range(4):
        build_shard(shard, 4, CALLS_MADE, uris[0])
    for shard in range(2):
        merge_shards(shard, 2, 4, *uris)
    apart, together = map(open_storage, uris)
    held = 'SELECT * EXCLUDE (month) FROM utterances ORDER BY call_id, "index"'
    assert run_query(apart, held) == run_query(together, held)
    readers: tuple[Reader, ...] = ("duckdb", "pyarrow")
    for title in QUERIES:
        assert 1 == len({ask(one, title, reader, call_id_of(1)) for one in (apart, together) for reader in readers})
    sizes = size_of(together)
    assert sizes.words == size_of(apart).words > 800 * CALLS_MADE
    assert sizes.text_bytes < sizes.utterances_bytes < sizes.encoded_bytes
