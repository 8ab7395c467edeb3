"""Make an evaluation set of a folder of recordings with a `manifest.csv`.

The manifest has the columns `file, kind, language, duration_s, codec, speakers, reference`; references are separated by
`|`. Recordings without a reference are taken only where they hold no speech. A `NAME.entities.json` with a `task` holds
what the speakers were asked to say (`{"caller_name": "...", "task": [{"transfer amount": 135, ...}]}`): of that, what
the reference says too becomes the entities of the case.

    python -m evaluation.sets.from_manifest FOLDER SET
    callscribe evaluate SET
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Final

import typer

from evaluation.cases import CASES, Case, CaseEntity, serialise_cases
from evaluation.entity_search import locate
from evaluation.formats import StmLine, parse_stm
from evaluation.hypotheses import HypothesisUtterance

SUFFIXES: Final = frozenset({".stm", ".txt", ".rttm", ".uem", ".ctm", ".json"})
NO_SPEECH: Final = "no speech"
ASKED: Final = ".entities.json"

_TYPES: Final = {
    "name": "person",
    "company name": "organisation",
    "amount": "amount",
    "time": "time",
    "hours": "time",
    "day": "date",
    "address": "address",
    "account": "product",
}
"""Types by how the name of what was asked for ends; the longest that fits counts."""


def case_of(row: Mapping[str, str], folder: Path) -> Case | None:
    """The case that a row of a manifest makes; None where there is nothing to compare the recording with."""
    own = [*row["reference"].split("|"), PurePath(row["file"]).with_suffix(".uem").as_posix()]
    names = [name for name in dict.fromkeys(own) if (folder / name).is_file()]
    references = tuple(name for name in names if PurePath(name).suffix in SUFFIXES and not name.endswith(ASKED))
    silent = row["kind"].startswith(NO_SPEECH)
    if not references and not silent:
        return None
    path = PurePath(row["file"])
    lines = [
        line for name in references if name.endswith(".stm") for line in parse_stm((folder / name).read_text("utf-8"))
    ]
    asked = [json.loads((folder / name).read_text("utf-8")) for name in names if name.endswith(ASKED)]
    return Case(
        call_id=path.as_posix().replace("/", "."),
        audio=(row["file"],),
        references=references,
        language=row["language"].partition("/")[0].partition("+")[0] or "en",
        tags=(path.parts[0], *tags_of(row)),
        channel_roles=("agent", "caller") if ".stereo." in path.name else (),
        speech=not silent,
        entities=tuple(entity for content in asked for entity in wanted(content) if is_said(entity, lines)),
        notes=row["notes"],
    )


def tags_of(row: Mapping[str, str]) -> Iterator[str]:
    """The scenario of a recording."""
    name = PurePath(row["file"]).name
    for word in ("mono", "stereo", "phone"):
        if f".{word}." in name:
            yield word
    if "accented" in row["language"]:
        yield "accent"
    if row["kind"].startswith("language changes"):
        yield "language changes"


def wanted(asked: Mapping[str, Any]) -> Iterator[CaseEntity]:
    """What the speakers of a call were asked to say, piece by piece."""
    told = [(key, asked[key]) for key in ("agent_name", "caller_name") if asked.get(key)]
    for key, value in (*told, *(pair for task in asked.get("task", ()) for pair in task.items())):
        kinds = [kind for kind in sorted(_TYPES, key=len, reverse=True) if key.endswith(kind)]
        if not kinds:
            continue
        kind = _TYPES[kinds[0]]
        text = f"${value}" if kind == "amount" else str(value)
        for piece in text.split(" to ") if kind == "time" else text.split(", ") if kind == "address" else [text]:
            yield CaseEntity(type="zip_code" if kind == "address" and piece.isdecimal() else kind, text=piece)


def is_said(entity: CaseEntity, lines: Iterable[StmLine]) -> bool:
    """Whether the reference says it, too."""
    _, (place,) = locate([entity.reference()], map(HypothesisUtterance.from_stm, lines))
    return place is not None


def main(
    folder: Annotated[Path, typer.Argument(help="Recordings, references and manifest.csv.")],
    out: Annotated[Path, typer.Argument(help="The set: recordings and references are copied there.")],
) -> None:
    """Make an evaluation set of a folder of recordings with a manifest."""
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        cases = [case for row in csv.DictReader(file) if (case := case_of(row, folder))]
    for name in sorted({name for case in cases for name in (*case.audio, *case.references)}):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, out / name)
    (out / CASES).write_text(serialise_cases(cases), encoding="utf-8")
    typer.echo(f"{len(cases)} cases in {out}")


if __name__ == "__main__":
    typer.run(main)
