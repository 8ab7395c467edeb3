"""Take out of a month what is not as it was certified, so that the next run does it again.

What `tasks.verify` finds in a shard is taken out of it: rows whose transcript was altered, that are there twice, that
nobody certified, or that were erased; and where an object cannot be read, all that it held. Of the former, those stay
whose recording is no longer in the archive: they could not be made again. Bytes that cannot be read are not kept aside,
because no call could be erased from them; a bucket with versions has them. Rows whose text is gone stay too: a
retention may have been cut off, and a call that was taken out would be transcribed again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tasks.certificates import append, package_versions
from tasks.dataset import DataSet
from tasks.inventory import read_archive
from tasks.records import CallRef
from tasks.setting_groups import ArchiveSettings
from tasks.storage import Storage
from tasks.verify import Finding, verify


@dataclass
class Mending:
    """What was taken out of a month.

    Attributes:
        month: `YYYY-MM`.
        rows: of `calls` that were taken out; those of an object that could not be read are not among them.
        unreadable: objects that could not be read, by URI; they hold nothing now.
        kept: rows that are not as certified, and whose recording is gone.
        left: findings that nothing can be done about here.
    """

    month: str
    rows: int = 0
    unreadable: list[str] = field(default_factory=list)
    kept: int = 0
    left: list[Finding] = field(default_factory=list)


def mend(
    data: DataSet,
    month: str,
    archive: Storage,
    settings: ArchiveSettings,
    say: Callable[[str], None] = lambda _: None,
) -> Mending:
    """Take out of a month what is not as it was certified. It may be done again, and then finds less to do.

    Args:
        data: the data set.
        month: `YYYY-MM`.
        archive: where the recordings lie.
        settings: how its keys are read.
        say: told what is being done.

    Raises:
        CertificateBroken: the chain of certificates itself does not hold.
        StorageRefused: the store says no, or other writers won every round.
    """
    result = Mending(month)
    by_shard: defaultdict[int, list[Finding]] = defaultdict(list)
    for finding in verify(data, month, say).findings:
        if finding.shard is None or finding.kind == "text_gone":
            result.left.append(finding)
        elif finding.kind != "missing":  # the next run does those as they are
            by_shard[finding.shard].append(finding)
    if not by_shard:
        return result
    say(f"listing the recordings of {month}")
    suspects = {finding.call_id for findings in by_shard.values() for finding in findings}
    listed = (call for call, _ in read_archive(archive, month, settings) if call is not None)
    there = {call.call_id for call in listed if call.call_id in suspects and _is_there(archive, call, settings)}
    shards = data.shards(month) or 1
    for shard, findings in sorted(by_shard.items()):
        say(f"{month}, shard {shard + 1} of {shards}")
        erased = {one.call_id for one in findings if one.call_id and one.kind == "erased"}
        if erased:
            data.bury(month, shard, shards, erased)
        wrong = {one.call_id for one in findings if one.call_id}
        result.kept += len(wrong - erased - there)
        rows, unreadable = data.take_out(month, shard, shards, (wrong & there) | erased)
        result.rows += rows
        result.unreadable += unreadable
    append(data.storage, "mending", f"mending-{datetime.now(UTC):%Y%m%dT%H%M%SZ}", _certificate(result))
    return result


def _is_there(archive: Storage, call: CallRef, settings: ArchiveSettings) -> bool:
    """Whether the recording is in the archive, as it was listed: a manifest names also those that are gone."""
    if not settings.manifest:
        return True
    there = ((archive.head(file.key), file.etag) for file in call.files)
    return all(info is not None and info.etag == etag for info, etag in there)


def _certificate(result: Mending) -> dict[str, object]:
    return {
        "month": result.month,
        "rows": result.rows,
        "unreadable": result.unreadable,
        "kept": result.kept,
        "versions": package_versions(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def mending_rows(result: Mending) -> list[tuple[str, str]]:
    """What was taken out, as lines for people."""
    return [
        ("rows taken out", f"{result.rows:,}"),
        ("objects that could not be read, emptied", f"{len(result.unreadable):,}"),
        ("rows kept, as their recording is gone", f"{result.kept:,}"),
        ("findings that stay", f"{len(result.left):,}"),
    ]
