"""How far the transcription of a sample has come: which references are there, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from evaluation.cases import CASES, Case, parse_cases
from evaluation.fields import ReferenceFileError
from evaluation.formats import StmLine, parse_rttm, parse_stm
from evaluation.sampling import reweighted, uncovered
from tasks.errors import SettingsError
from tasks.samples import DRAFTS, REFERENCES, draft_path
from tasks.storage import Storage

IGNORED: Final = frozenset({f"{REFERENCES}/README.txt"})


@dataclass(frozen=True, slots=True)
class SampleStatus:
    """What is there of a sample.

    Attributes:
        cases: all of them.
        present: call_ids of those whose references are there and can be read.
        missing: call_ids of those without.
        malformed: what is wrong with files, at most one thing of each.
        unchanged: call_ids whose reference says what the draft says.
        silent: call_ids whose reference says that nobody speaks, where the draft has words.
        strays: files among the references that belong to no case.
    """

    cases: tuple[Case, ...]
    present: frozenset[str]
    missing: tuple[str, ...]
    malformed: tuple[ReferenceFileError, ...]
    unchanged: tuple[str, ...]
    silent: tuple[str, ...]
    strays: tuple[str, ...]

    @property
    def usable(self) -> tuple[Case, ...]:
        """The cases that can be scored, with weights that stand for all calls of their strata."""
        return reweighted(self.cases, self.present)

    @property
    def uncovered(self) -> Mapping[str, float]:
        """The strata of which no case can be scored, and for how many calls they stand."""
        return uncovered(self.cases, self.present)

    def strata(self) -> list[tuple[str, float, int, int]]:
        """Name of each stratum, its calls, cases, and those of them that can be scored."""
        names = sorted({case.stratum or "" for case in self.cases})
        members = {name: [case for case in self.cases if (case.stratum or "") == name] for name in names}
        return [
            (
                name,
                sum(case.weight for case in cases),
                len(cases),
                sum(case.call_id in self.present for case in cases),
            )
            for name, cases in members.items()
        ]


def examine(cases: Sequence[Case], files: Mapping[str, bytes]) -> SampleStatus:
    """Look at the references of a sample. Pure.

    Args:
        cases: of the sample.
        files: the content of each file in `references` and `drafts`, by its path in the sample.
    """
    malformed: list[ReferenceFileError] = []
    present, missing, unchanged, silent = [], [], [], []
    for case in cases:
        found = [path for path in case.references if path in files]
        if case.speech and (len(found) < len(case.references) or not found):
            missing.append(case.call_id)
            continue
        problems, lines = _read(case, found, files)
        if problems:
            malformed += problems
            continue
        present.append(case.call_id)
        draft = _draft(case, files)
        if draft and lines == draft:
            unchanged.append(case.call_id)
        if draft and not lines:
            silent.append(case.call_id)
    named = {path for case in cases for path in case.references}
    strays = sorted(path for path in files if path.startswith(f"{REFERENCES}/") and path not in named | IGNORED)
    return SampleStatus(
        tuple(cases), frozenset(present), tuple(missing), tuple(malformed), tuple(unchanged), tuple(silent),
        tuple(strays),
    )  # fmt: skip


def load_status(place: Storage, say: Callable[[str], None] = lambda _: None) -> SampleStatus:
    """Read a sample, and look at its references.

    Args:
        place: its folder.
        say: told what is being read.

    Raises:
        SettingsError: there is no sample.
        ReferenceFileError: its cases cannot be read.
        StorageUnavailable, StorageRefused: the store does not answer, or says no.
    """
    if place.head(CASES) is None:
        message = (
            f"{place.uri} holds no {CASES}: it is no sample, or one that was not drawn to its end; "
            "`callscribe sample` draws one"
        )
        raise SettingsError(message)
    try:
        text = place.get(CASES).data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReferenceFileError(CASES, None, f"cannot be read: {error}") from error
    cases = [case for _, case in parse_cases(text)]
    return examine(cases, dict(_files(place, say)))


def _files(place: Storage, say: Callable[[str], None]) -> Iterator[tuple[str, bytes]]:
    for folder in (REFERENCES, DRAFTS):
        for number, info in enumerate(list(place.list(f"{folder}/")), start=1):
            say(f"reading {folder} ({number:,})")
            yield info.key, place.get(info.key).data


def _read(
    case: Case, paths: Sequence[str], files: Mapping[str, bytes]
) -> tuple[list[ReferenceFileError], list[StmLine]]:
    """What is wrong with the references of a case, and what they say is said."""
    problems: list[ReferenceFileError] = []
    lines: list[StmLine] = []
    for path in paths:
        try:
            text = files[path].decode("utf-8-sig")
            suffix = PurePosixPath(path).suffix
            if suffix == ".stm":
                lines += _own(parse_stm(text, path), case, path, text)
            elif suffix == ".rttm":
                parse_rttm(text, path)
        except UnicodeDecodeError as error:
            problems.append(ReferenceFileError(path, None, f"it is no UTF-8: {error}; save it as plain text"))
        except ReferenceFileError as error:
            problems.append(error)
    return problems, lines


def _own(lines: Sequence[StmLine], case: Case, path: str, text: str) -> Sequence[StmLine]:
    """The lines, of which each must be of the case.

    Raises:
        ReferenceFileError: one is of another call.
    """
    call_id = case.reference_id or case.call_id
    for line in lines:
        if line.call_id != call_id:
            number = next(at for at, one in enumerate(text.split("\n"), 1) if one.split()[:1] == [line.call_id])
            raise ReferenceFileError(path, number, f"it is about {line.call_id}, and the file is of {call_id}")
    return lines


def _draft(case: Case, files: Mapping[str, bytes]) -> list[StmLine]:
    """What the draft of a case says; nothing where there is none."""
    content = files.get(draft_path(case.call_id), b"")
    try:
        return list(parse_stm(content.decode("utf-8-sig")))
    except (UnicodeDecodeError, ReferenceFileError):  # somebody has written into it
        return []
