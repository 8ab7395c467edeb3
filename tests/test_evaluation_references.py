"""References: STM, RTTM and entity files."""

import json
import pickle
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.references import (
    Reference,
    ReferenceEntity,
    ReferenceFileError,
    RttmTurn,
    StmLine,
    collect_references,
    load_references,
    parse_entities,
    parse_rttm,
    parse_stm,
    serialise_rttm,
    serialise_stm,
)

NAMES = st.text(alphabet="abcXYZ019_-", min_size=1, max_size=8)
WORDS = st.lists(st.text(alphabet="abcdefgh'$.,", min_size=1, max_size=6), max_size=6).map(" ".join)
MILLISECONDS = st.integers(min_value=0, max_value=10_000_000)


@st.composite
def stm_lines(draw: st.DrawFn) -> StmLine:
    """Any STM line, with times to the millisecond."""
    start, length = draw(MILLISECONDS), draw(MILLISECONDS)
    label = draw(st.sampled_from([None, "<o,f0,unknown>", "<NA>"]))
    return StmLine(
        draw(NAMES), draw(st.integers(1, 9)), draw(NAMES), start / 1000, (start + length) / 1000, draw(WORDS), label
    )


@st.composite
def rttm_turns(draw: st.DrawFn) -> RttmTurn:
    """Any speech turn, with times to the millisecond."""
    start, length = draw(MILLISECONDS), draw(MILLISECONDS)
    return RttmTurn(draw(NAMES), draw(st.integers(1, 9)), start / 1000, (start + length) / 1000, draw(NAMES))


@given(st.lists(stm_lines(), max_size=5))
def test_stm_survives_a_round_trip(lines: list[StmLine]) -> None:
    """What is written as STM is read back the same."""
    assert tuple(lines) == parse_stm(serialise_stm(lines))


@given(st.lists(rttm_turns(), max_size=5))
def test_rttm_survives_a_round_trip(turns: list[RttmTurn]) -> None:
    """What is written as RTTM is read back the same."""
    assert tuple(turns) == parse_rttm(serialise_rttm(turns))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 1 agent 1.5 2 hello there", StmLine("a", 1, "agent", 1.5, 2.0, "hello there")),
        ("a 2 agent 1 1", StmLine("a", 2, "agent", 1.0, 1.0, "")),
        ("a B agent 1 2 hi", StmLine("a", 2, "agent", 1.0, 2.0, "hi")),
        ("a 1 x 0 1 <o,f0,unknown> hi\r", StmLine("a", 1, "x", 0.0, 1.0, "hi", "<o,f0,unknown>")),
        ("\ufeffa 1 x 0 1 a<b", StmLine("a", 1, "x", 0.0, 1.0, "a<b")),
        (";; a comment\n\n  a\t1 x 0 1   hi  there \n", StmLine("a", 1, "x", 0.0, 1.0, "hi  there")),
    ],
)
def test_stm_as_it_is_found(text: str, expected: StmLine) -> None:
    """Comments, labels, letters for channels, tabs, foreign line ends and empty texts are read."""
    assert (expected,) == parse_stm(text)


def test_rttm_lines_of_other_kinds_are_passed_over() -> None:
    """RTTM may describe speakers and words, too; only turns are taken."""
    text = "SPKR-INFO a 1 <NA> <NA> <NA> unknown x <NA>\n;; comment\nSPEAKER a 1 1.5 0.25 <NA> <NA> x <NA> <NA>\n"
    assert (RttmTurn("a", 1, 1.5, 1.75, "x"),) == parse_rttm(text)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a 1 agent 1.5", "expected"),
        ("a 1 agent one 2 hi", "could not convert"),
        ("a 1 agent 2 1 hi", "ends (1) before it starts (2)"),
        ("a 1 agent nan 1 hi", "no time"),
        ("a 1 agent -1 1 hi", "no time"),
        ("a left agent 0 1 hi", "left is no channel"),
        ("a 1 agent 0 1 i { mean / need } it", "cannot be scored"),
        ("a 1 agent 0 1 IGNORE_TIME_SEGMENT_IN_SCORING", "cannot be scored"),
    ],
)
def test_malformed_stm_names_file_and_line(line: str, problem: str) -> None:
    """An error says where and what, and can be pickled on its way out of a worker."""
    with pytest.raises(ReferenceFileError) as caught:
        parse_stm(f";; first\n{line}\n", "calls.stm")
    assert caught.value.message.startswith("calls.stm, line 2: ")
    assert problem in caught.value.message
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (copy.source, copy.line, copy.problem, str(copy)) == (
        "calls.stm",
        2,
        caught.value.problem,
        str(caught.value),
    )


@pytest.mark.parametrize("line", ["SPEAKER a 1 0 1", "SPEAKER a 1 0 x <NA> <NA> s <NA> <NA>", "SPEAKER a 1 0 -1 - - s"])
def test_malformed_rttm_names_file_and_line(line: str) -> None:
    """A turn without all of its fields is an error, not a turn less."""
    with pytest.raises(ReferenceFileError, match=r"turns.rttm, line 1: "):
        parse_rttm(line, "turns.rttm")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "line 1: no JSON"),
        ('{"entities": []}', "'call_id' is missing"),
        ('{"call_id": "a", "entities": [{"type": "person"}]}', "'text' is missing"),
        ('{"call_id": "a", "entities": ["Laura"]}', "malformed"),
        ('{"call_id": "a", "entities": [{"type": "person", "text": "x", "start": "soon"}]}', "malformed"),
    ],
)
def test_malformed_entities_name_the_file(content: str, problem: str) -> None:
    """An entity file with entities must be right."""
    with pytest.raises(ReferenceFileError, match=problem) as caught:
        parse_entities(content, "a.entities.json")
    assert caught.value.source == "a.entities.json"


def test_names_that_the_formats_cannot_carry_are_refused() -> None:
    """White space in a name would silently shift the fields."""
    with pytest.raises(ValueError, match="white space"):
        serialise_stm([StmLine("a b", 1, "x", 0.0, 1.0, "hi")])
    with pytest.raises(ValueError, match="white space"):
        serialise_rttm([RttmTurn("a", 1, 0.0, 1.0, "")])


def test_files_are_put_together_call_by_call() -> None:
    """A file may hold one call or many; other JSON is passed over; an empty file says that nobody spoke."""
    entities = {"call_id": "b", "entities": [{"type": "person", "text": "Laura", "start": 1}]}
    references = collect_references(
        [
            ("two.stm", "b 1 x 0 1 hi\na 1 x 0 1 ho\n"),
            ("b.rttm", "SPEAKER b 1 0 1 <NA> <NA> x <NA> <NA>\n"),
            ("b.entities.json", json.dumps(entities)),
            ("c.entities.json", '{"sid": "c", "task": []}'),
            ("silence.stm", ";; nothing is said\n"),
            ("readme.txt", "not a reference"),
        ]
    )
    expected = {
        "a": Reference("a", lines=(StmLine("a", 1, "x", 0.0, 1.0, "ho"),)),
        "b": Reference(
            "b",
            lines=(StmLine("b", 1, "x", 0.0, 1.0, "hi"),),
            turns=(RttmTurn("b", 1, 0.0, 1.0, "x"),),
            entities=(ReferenceEntity("person", "Laura", None, 1.0, None),),
        ),
        "silence": Reference("silence", lines=()),
    }
    assert expected == references


def test_a_call_has_one_reference_of_a_kind() -> None:
    """Two files that speak of one call would double its words."""
    with pytest.raises(ReferenceFileError, match=r"two.stm: call a has a reference of this kind in another file"):
        collect_references([("one.stm", "a 1 x 0 1 hi"), ("two.stm", "a 1 x 0 1 hi")])


def test_a_folder_is_read(tmp_path: Path) -> None:
    """Loading reads the files of a folder, and refuses a folder without references or with unreadable ones."""
    with pytest.raises(ReferenceFileError, match="no references"):
        load_references(tmp_path)
    with pytest.raises(ReferenceFileError, match="no references"):
        load_references(tmp_path / "missing")
    (tmp_path / "a.stm").write_text("\ufeffa 1 x 0 1 grüß gott\n", encoding="utf-8")
    assert (StmLine("a", 1, "x", 0.0, 1.0, "grüß gott"),) == load_references(tmp_path)["a"].lines
    (tmp_path / "b.stm").write_bytes(b"b 1 x 0 1 gr\xfc\xdf gott\n")
    with pytest.raises(ReferenceFileError, match=r"b.stm: cannot be read"):
        load_references(tmp_path)


def test_the_sample_of_pyannote_is_read() -> None:
    """Files that somebody else made are read: the real conversation that pyannote.audio ships."""
    spec = find_spec("pyannote.audio")
    if spec is None or spec.origin is None:
        pytest.skip("pyannote.audio is not installed")
    reference = load_references(Path(spec.origin).parent / "sample")["sample"]
    assert reference.lines is not None
    assert reference.turns is not None
    assert (len(reference.lines), {line.speaker for line in reference.lines}) == (13, {"Diane", "Sheila"})
    assert RttmTurn("sample", 1, 6.69, 7.12, "speaker90") == reference.turns[0]
