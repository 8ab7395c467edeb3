"""Where a sample is drawn to: into the data set, where erasure reaches it, or into a folder, where it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluation.cases import CASES
from evaluation.sample_export import Sample, SampleRequest, draw_sample
from tasks.dataset import DataSet
from tasks.erase_runs import erased_among
from tasks.errors import PreconditionFailed, SettingsError, UsageError
from tasks.samples import AUDIO, DRAFTS, erase_from_samples, sample_prefix
from tasks.storage import Storage

Say = Callable[[str], None]


def draw_to_storage(
    data: DataSet, archive: Storage, request: SampleRequest, name: str, say: Say = lambda _: None
) -> tuple[Sample, str]:
    """Draw a sample into the data set, under `samples/MONTH-NAME/`.

    One that was cut off has no `cases.jsonl`, and is drawn anew by the same command. An erasure writes its tombstones
    before it looks through the samples, and here they are read after everything is written: whichever comes first, an
    erased call is taken out.

    Args:
        data: the data set.
        archive: where the recordings lie.
        request: what to draw.
        name: of the sample.
        say: told what is being done.

    Returns:
        what was drawn, and the URI of the sample.

    Raises:
        SettingsError: a sample of this name is there, or `draw_sample` does.
    """
    storage, prefix = data.storage, sample_prefix(request.month, name)
    if storage.head(f"{prefix}{CASES}") is not None:
        raise _taken(storage, prefix, name)
    written: set[str] = set()

    def write(path: str, content: bytes) -> None:
        written.add(f"{prefix}{path}")
        try:
            storage.put(f"{prefix}{path}", content, if_none_match=path == CASES)
        except PreconditionFailed as error:
            # Also where our own write was applied and its answer lost.
            if storage.get(f"{prefix}{path}").data != content:
                raise _taken(storage, prefix, name) from error

    sample = draw_sample(data, archive, request, write, say)
    say("looking for calls that were erased meanwhile")
    call_ids = {case.call_id for case in sample.cases}
    if erased := erased_among(data, request.month, data.shards(request.month) or 1, call_ids | sample.replaced.keys()):
        erase_from_samples(storage, request.month, erased)
        sample.cases = [case for case in sample.cases if case.call_id not in erased]
    for folder in (AUDIO, DRAFTS):
        for info in [info for info in storage.list(f"{prefix}{folder}/") if info.key not in written]:
            storage.delete(info.key)  # of a draw that was cut off
    return sample, storage.object_uri(prefix.rstrip("/"))


def draw_to_folder(
    data: DataSet, archive: Storage, request: SampleRequest, folder: Path, say: Say = lambda _: None
) -> Sample:
    """Draw a sample into a new or empty local folder.

    Raises:
        UsageError: something is in the folder, or it cannot be written.
        SettingsError: as `draw_sample`.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        message = f"{folder} is not an empty folder: name a new one in --out"
        raise UsageError(message)

    def write(path: str, content: bytes) -> None:
        try:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        except OSError as error:
            message = f"{folder / path} cannot be written: {error.strerror}"
            raise UsageError(message) from error

    return draw_sample(data, archive, request, write, say)


def _taken(storage: Storage, prefix: str, name: str) -> SettingsError:
    place = storage.object_uri(prefix.rstrip("/"))
    return SettingsError(f"there is a sample {place} already; give the new one a --name other than {name}")
