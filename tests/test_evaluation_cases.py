"""Evaluation sets: what `cases.jsonl` says, what is wrong with it, and what a set is made of."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.cases import Case, CaseEntity, parse_cases, serialise_cases
from evaluation.evaluation_set import load_set
from evaluation.fields import ReferenceFileError
from evaluation.set_transcripts import place_to_keep
from evaluation.sets.from_manifest import is_said, tags_of, wanted
from evaluation.sets.make_demo import demo_cases
from tasks.errors import StorageRefused
from tasks.storage import Storage, open_storage

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "evaluation" / "sets" / "demo"

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=8)
entities = st.builds(
    CaseEntity, type=names, text=names, speaker=st.none() | names, start=st.none() | st.floats(0, 100, width=32)
)
some_cases = st.builds(
    Case,
    call_id=names.filter(lambda name: name.split() == [name]),
    audio=st.lists(st.sampled_from(["a.wav", "b/c.mp3"]), max_size=2).map(tuple),
    references=st.lists(st.sampled_from(["a.stm", "b.rttm"]), max_size=2).map(tuple),
    language=st.sampled_from(["en", "de", "pt-BR"]),
    tags=st.lists(names, max_size=3).map(tuple),
    speakers=st.none() | st.integers(1, 5),
    entities=st.lists(entities, max_size=2).map(tuple),
    stratum=st.none() | names,
    weight=st.floats(0.5, 100, width=32),
)


@given(st.lists(some_cases, min_size=1, max_size=4, unique_by=lambda case: case.call_id))
def test_cases_are_read_as_they_were_written(cases: list[Case]) -> None:
    """Nothing is lost on the way through a file."""
    assert cases == [case for _, case in parse_cases(serialise_cases(cases))]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[1]", "a case is a JSON object"),
        ('{"call_id": ', "no JSON: Expecting value at column 13"),
        ('{"audio": "a.wav"}', "call_id: a case needs a name without white space in it"),
        ('{"call_id": "a b"}', "call_id: a case needs a name without white space in it"),
        ('{"call_id": "a", "reference": "a.stm"}', "reference is no field of a case"),
        ('{"call_id": "a", "language": "English"}', "language: an ISO 639-1 code, such as en, de or pt-BR"),
        ('{"call_id": "a", "weight": 0}', "weight: input should be greater than 0"),
        ('{"call_id": "a", "entities": [{"type": "date"}]}', "entities 1 text is missing"),
        ('{"call_id": "a", "audio": "../a.wav"}', "../a.wav is not in the set: paths are relative to its folder"),
        ('{"call_id": "a", "audio": "/a.wav"}', "/a.wav is not in the set: paths are relative to its folder"),
        ('{"call_id": "a", "speech": false, "references": "a.stm"}', "speech is false, and there are references"),
        ('{"call_id": "first"}', "call_id first stands in line 2, too"),
    ],
)
def test_errors_name_the_line(line: str, problem: str) -> None:
    """Whoever wrote the file finds the place, and reads what is to be done."""
    with pytest.raises(ReferenceFileError) as caught:
        parse_cases(f'# a comment\n{{"call_id": "first"}}\n\n{line}\n', "set/cases.jsonl")
    assert str(caught.value).startswith(f"set/cases.jsonl, line 4: {problem}")


def test_a_file_without_cases() -> None:
    """An empty file is an error, not an empty set whose figures are all undefined."""
    with pytest.raises(ReferenceFileError, match="it names no case"):
        parse_cases("\n# nothing yet\n")


def folder(place: Path, cases: str, **files: str) -> Storage:
    """A set of files."""
    (place / "cases.jsonl").write_text(cases, encoding="utf-8")
    for name, content in files.items():
        path = place / name.replace("__", ".")
        path.write_text(content, encoding="utf-8")
    return open_storage(place.as_uri())


def test_all_kinds_of_references(tmp_path: Path) -> None:
    """STM, SegLST, RTTM, UEM, text and entities are put together case by case."""
    segments = [{"session_id": "s", "speaker": "x", "start_time": 0.5, "end_time": 2, "words": "hello there"}]
    cases = [
        Case(call_id="one", audio=("a.wav",), references=("one.stm", "one.rttm", "one.uem")),
        Case(call_id="two", references=("two.json",), entities=(CaseEntity(type="person", text="there"),)),
        Case(call_id="three", references=("text.txt",), language="de"),
        Case(call_id="four", speech=False),
        Case(call_id="one-again", references=("one.stm",), reference_id="one"),
    ]
    storage = folder(
        tmp_path,
        serialise_cases(cases),
        a__wav="",
        one__stm="one 1 agent 0 2 hello\n",
        one__rttm="SPEAKER one 1 0.0 2.0 <NA> <NA> agent <NA> <NA>\n",
        one__uem="one NA 0.0 1.5\n",
        two__json=json.dumps(segments),
        text__txt="guten Tag\n",
    )
    found = load_set(storage)
    references = found.references
    assert ["hello"] == [line.text for line in references["one"].lines or ()]
    assert [(0.0, 1.5)] == [(region.start, region.end) for region in references["one"].regions or ()]
    assert ["agent"] == [turn.speaker for turn in references["one"].turns or ()]
    assert ["hello there"] == [line.text for line in references["two"].lines or ()]
    assert ["there"] == [entity.text for entity in references["two"].entities or ()]
    assert (None, "guten Tag") == (references["three"].lines, references["three"].text)
    assert () == references["four"].lines
    groups = {one.case.call_id: one.group for one in found.cases}
    assert groups["one"] != groups["one-again"]  # named apart: nobody said that they are one call
    assert 5 == len(found.cases)


def test_the_digest_tells_sets_apart(tmp_path: Path) -> None:
    """A baseline is one of this set, to the letter of its references."""
    storage = folder(tmp_path, '{"call_id": "a", "references": "a.stm"}\n', a__stm="a 1 x 0 1 yes\n")
    before = load_set(storage).digest
    assert before == load_set(storage).digest
    (tmp_path / "a.stm").write_text("a 1 x 0 1 no\n", encoding="utf-8")
    assert before != load_set(storage).digest


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ({"audio": "none.wav"}, "line 1: call a: there is no none.wav in the set"),
        ({"references": ["a.stm", "b.stm"]}, "line 1: b.stm says again what another reference of the case says"),
        (
            {"references": "two.stm"},
            "line 1: two.stm says nothing of call a, but of b, c: name the call with reference_id",
        ),
        ({"references": "notes.json"}, "line 1: notes.json holds no reference"),
        ({"references": "bad.stm"}, "bad.stm, line 1: expected `call_id channel speaker start end text`"),
    ],
)
def test_what_a_set_lacks(tmp_path: Path, case: dict[str, object], problem: str) -> None:
    """Files that are not there, say nothing or say it twice are named."""
    storage = folder(
        tmp_path,
        json.dumps({"call_id": "a", **case}),
        a__stm="a 1 x 0 1 yes\n",
        b__stm="a 1 x 0 1 no\n",
        two__stm="b 1 x 0 1 yes\nc 1 x 0 1 yes\n",
        notes__json="{}",
        bad__stm="a 1 x\n",
    )
    with pytest.raises(ReferenceFileError) as caught:
        load_set(storage)
    assert problem in str(caught.value)


def test_a_folder_without_cases(tmp_path: Path) -> None:
    """A folder of references is no set, and the message says what is missing."""
    with pytest.raises(ReferenceFileError, match=r"cases.jsonl: there is none in file://.*: an evaluation set has one"):
        load_set(open_storage(tmp_path.as_uri()))


def test_a_sample_that_is_not_done_yet(tmp_path: Path) -> None:
    """Calls of a sample without a reference are stood for by the others of their stratum."""
    cases = [
        Case(call_id=name, references=(f"{name}.stm",), stratum=stratum, weight=10.0)
        for name, stratum in (("a", "x"), ("b", "x"), ("c", "y"))
    ]
    storage = folder(tmp_path, serialise_cases(cases), a__stm="a 1 s 0 1 yes\n")
    found = load_set(storage)
    assert [("a", 20.0)] == [(one.case.call_id, one.case.weight) for one in found.cases]
    assert ("b", "c") == found.awaited
    assert {"y": 10.0} == found.uncovered
    (tmp_path / "a.stm").unlink()
    with pytest.raises(ReferenceFileError, match="none of its 3 calls has a reference yet"):
        load_set(storage)


def test_a_set_that_may_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transcripts are not kept; they are where one may write, and nothing is left there of what tried it."""
    storage = open_storage(tmp_path.as_uri())
    assert storage is place_to_keep(storage)
    assert [] == list(storage.list())

    def refuse(*_: object, **__: object) -> str:
        raise StorageRefused("it may only be read")

    with monkeypatch.context() as patch:
        patch.setattr(type(storage), "delete", refuse)
        assert storage is place_to_keep(storage)  # the role of a run removes nothing there
    monkeypatch.setattr(type(storage), "put", refuse)
    assert None is place_to_keep(storage)


def test_the_demo_is_a_set() -> None:
    """The file that ships is what the script makes, and everything that it names is there."""
    assert serialise_cases(demo_cases()) == (DEMO / "cases.jsonl").read_text(encoding="utf-8")
    found = load_set(open_storage(DEMO.as_uri()))
    assert 7 == len(found.cases)
    assert 65 == sum(len(reference.entities or ()) for reference in found.references.values())


def test_a_manifest_makes_cases() -> None:
    """Of what the speakers were asked to say, only what they said becomes an entity."""
    asked = {
        "caller_name": "Robert Jones",
        "task": [{"branch hours": "8:30 am to 5:00 pm", "money amount": 132, "task_type": "get branch hours"}],
    }
    found = [(entity.type, entity.text) for entity in wanted(asked)]
    assert [("person", "Robert Jones"), ("time", "8:30 am"), ("time", "5:00 pm"), ("amount", "$132")] == found
    lines = load_set(open_storage(DEMO.as_uri())).references["demo-0001"].lines or ()
    assert is_said(CaseEntity(type="amount", text="$142.50"), lines)
    assert not is_said(CaseEntity(type="amount", text="$132"), lines)
    row = {"file": "meetings/a.mono.wav", "language": "en-GB/accented", "kind": "meeting"}
    assert ["mono", "accent"] == list(tags_of(row))
