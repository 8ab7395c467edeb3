"""Samples of calls for human transcription: where they lie in a data set, and how calls are taken out of them.

A sample is a folder of the data set::

    samples/2026-10-quality/cases.jsonl            a case on each line (`evaluation.cases`); written last
    samples/2026-10-quality/sample.json            how it was drawn; names no call
    samples/2026-10-quality/README.md              what transcribers do
    samples/2026-10-quality/audio/CALL.wav         of a call in several files: audio/CALL/0.wav, audio/CALL/1.wav, …
    samples/2026-10-quality/drafts/CALL.stm        what was recognised
    samples/2026-10-quality/references/CALL.stm    what was said: by a person
    samples/2026-10-quality/transcripts/CALL/…     what `callscribe evaluate` made of it

It holds what was spoken, so it lies where an erasure looks.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from tasks.conditional import find
from tasks.errors import PreconditionFailed, SettingsError
from tasks.storage import Storage

SAMPLES: Final = "samples/"
CASES: Final = "cases.jsonl"
AUDIO, DRAFTS, REFERENCES, TRANSCRIPTS = "audio", "drafts", "references", "transcripts"
# Of a file's name, whatever store it lies in; longer ones end in a hash.
MOST_LETTERS: Final = 120

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def sample_prefix(month: str, name: str) -> str:
    """What the keys of a sample begin with, such as `samples/2026-10-quality/`.

    Raises:
        SettingsError: the name cannot be part of a key.
    """
    if not _NAME.fullmatch(name):
        message = f"a sample is named by up to 64 letters, digits, '-', '_' and '.', not {name!r}"
        raise SettingsError(message)
    return f"{SAMPLES}{month}-{name}/"


def file_stem(call_id: str) -> str:
    r"""What the files of a call are called: its call_id where a file can be called so, else written with `%`.

    >>> file_stem("20261005-0007"), file_stem("a/b"), file_stem(".hidden")
    ('20261005-0007', 'a%2Fb', '%2Ehidden')
    """
    stem = quote(call_id, safe="")
    stem = f"%2E{stem[1:]}" if stem.startswith(".") else stem
    if len(stem) <= MOST_LETTERS:
        return stem
    return f"{stem[:80]}-{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"


def audio_paths(call_id: str, keys: Iterable[str]) -> tuple[str, ...]:
    """Where in a sample the recordings of a call lie: one file, or a folder with one for each channel.

    Args:
        call_id: the call.
        keys: of its files in the archive, in order of their channels; their extensions are kept.
    """
    endings = [_ending(key) for key in keys]
    if len(endings) == 1:
        return (f"{AUDIO}/{file_stem(call_id)}{endings[0]}",)
    return tuple(f"{AUDIO}/{file_stem(call_id)}/{channel}{ending}" for channel, ending in enumerate(endings))


def draft_path(call_id: str) -> str:
    """Where in a sample the draft of a call lies."""
    return f"{DRAFTS}/{file_stem(call_id)}.stm"


def reference_path(call_id: str) -> str:
    """Where in a sample the reference of a call is to be saved."""
    return f"{REFERENCES}/{file_stem(call_id)}.stm"


def erase_from_samples(storage: Storage, month: str, call_ids: Collection[str]) -> list[str]:
    """Take calls out of the samples of a month: recordings, drafts, references, and their lines of the cases.

    The other cases of a stratum stand for its calls from then on. Samples that were not drawn to the end are visited,
    too.

    Args:
        storage: of the data set.
        month: `YYYY-MM`.
        call_ids: the calls.

    Returns:
        the keys of what was rewritten or removed.
    """
    erased = {file_stem(call_id) for call_id in call_ids}
    samples: defaultdict[str, list[str]] = defaultdict(list)
    for info in list(storage.list(f"{SAMPLES}{month}-")):
        sample, _, path = info.key.removeprefix(SAMPLES).partition("/")
        samples[f"{SAMPLES}{sample}/"].append(path)
    changed: list[str] = []
    for prefix, paths in samples.items():
        named, rewritten = _erase_cases(storage, f"{prefix}{CASES}", call_ids)
        changed += [f"{prefix}{CASES}"] if rewritten else []
        for path in [path for path in paths if path in named or _belongs(path, erased, paths)]:
            storage.delete(f"{prefix}{path}")
            changed.append(f"{prefix}{path}")
    return changed


def cases_without(text: str, call_ids: Collection[str]) -> tuple[str, frozenset[str]]:
    """The lines of `cases.jsonl` without some calls, and which files those lines named. Pure.

    The weights of the cases that stay are raised so that each stratum stands for as many calls as before. A line that
    is no JSON goes where it names one of the calls, and else stays as it is.
    """
    lines = [(line, _parsed(line)) for line in text.splitlines(keepends=True)]
    left: list[tuple[str, dict[str, Any] | None]] = []
    files: set[str] = set()
    before: defaultdict[str | None, float] = defaultdict(float)
    after: defaultdict[str | None, float] = defaultdict(float)
    for line, case in lines:
        if case is None:
            left += [] if any(json.dumps(one)[1:-1] in line or one in line for one in call_ids) else [(line, None)]
            continue
        before[case.get("stratum")] += case.get("weight", 1.0)
        if case.get("call_id") in call_ids:
            files.update(_files_of(case))
        else:
            after[case.get("stratum")] += case.get("weight", 1.0)
            left.append((line, case))
    written = [
        line if case is None or before[stratum] == after[stratum] else
        json.dumps(case | {"weight": case.get("weight", 1.0) * before[stratum] / after[stratum]}, ensure_ascii=False)
        + "\n"
        for line, case in left
        for stratum in [case.get("stratum") if case else None]
    ]  # fmt: skip
    return "".join(written), frozenset(files)


def _erase_cases(storage: Storage, key: str, call_ids: Collection[str]) -> tuple[frozenset[str], bool]:
    """Rewrite the cases of a sample without some calls; which files they named, and whether any was there."""
    while (stored := find(storage, key)) is not None:
        text = stored.data.decode(errors="surrogateescape")
        rest, files = cases_without(text, call_ids)
        if rest == text:
            return files, False
        try:
            storage.put(key, rest.encode(errors="surrogateescape"), if_match=stored.info.etag)
        except PreconditionFailed:
            continue
        return files, True
    return frozenset(), False


def _belongs(path: str, erased: Collection[str], paths: Iterable[str]) -> bool:
    """Whether a file of a sample is of one of some calls, by its name: also what an editor leaves beside it.

    `a.stm.bak` is a file of `a`, unless there is a call `a.stm`.
    """
    folder, _, name = path.partition("/")
    if folder not in {AUDIO, DRAFTS, REFERENCES, TRANSCRIPTS}:
        return False
    stem = name.partition("/")[0] if "/" in name else PurePosixPath(name).stem
    if folder != REFERENCES:
        return stem in erased
    known = {PurePosixPath(other).stem for other in paths if other.startswith((f"{AUDIO}/", f"{DRAFTS}/"))}
    owners = (one for one in _beginnings(name) if one in erased or one in known)
    return next(owners, None) in erased


def _beginnings(name: str) -> Iterator[str]:
    """What is before each dot of a name, the longest first."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        case = json.loads(line)
    except ValueError:
        return None
    return case if isinstance(case, dict) else None


def _files_of(case: dict[str, Any]) -> Iterator[str]:
    for name in ("audio", "references"):
        found = case.get(name, ())
        yield from [found] if isinstance(found, str) else found


def _ending(key: str) -> str:
    ending = PurePosixPath(key).suffix
    return ending if re.fullmatch(r"\.[A-Za-z0-9]{1,16}", ending) else ".audio"
