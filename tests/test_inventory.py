"""What a month of the archive holds, and how keys are read."""

import os
import re
import secrets
import string
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from builders import call_ref
from conftest import BUCKET
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import SettingsError, StorageRefused
from tasks.inventory import (
    check_month,
    duplicate_message,
    previous_month,
)
from tasks.keys import month_prefix, template_pattern
from tasks.listing import WAITING_CALLS, ListedMonth
from tasks.records import CallHints, CallRef
from tasks.setting_groups import ArchiveSettings
from tasks.settings import load_settings
from tasks.storage import Storage, open_storage

MONTH = "2026-10"

_names = st.text(string.ascii_letters + string.digits + " _+%é通📞()[]^$*?.", min_size=1, max_size=12)
_FIELDS = {
    "year": st.integers(1990, 2199).map(lambda year: f"{year:04d}"),
    "month": st.integers(1, 12).map(lambda month: f"{month:02d}"),
    "day": st.integers(1, 31).map(lambda day: f"{day:02d}"),
    "hour": st.integers(0, 23).map(lambda hour: f"{hour:02d}"),
    "minute": st.integers(0, 59).map(lambda minute: f"{minute:02d}"),
    "call_id": _names,
    "agent": _names,
    "line_2": _names,
    "ext": st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=4),
}
_literals = st.text(string.ascii_letters + "-/.+*?()[]|^$\\ é", max_size=5)


@st.composite
def _written_keys(draw: st.DrawFn) -> tuple[str, dict[str, str], str]:
    """A template, values for its fields, and the key that it writes; `/` parts the fields, which hold none."""
    used = draw(st.lists(st.sampled_from(sorted(_FIELDS)), max_size=5))
    used = draw(st.permutations(["year", "month", "call_id", *used]))
    values = {name: draw(_FIELDS[name]) for name in used}
    template = "/".join(f"{draw(_literals.filter(lambda text: '/' not in text))}{{{name}}}" for name in used)
    return template, values, template.format(**values)


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """An empty archive of each kind."""
    if request.param == "file":
        return open_storage(request.getfixturevalue("tmp_path").as_uri())
    request.getfixturevalue("s3_environment")
    return open_storage(f"s3://{BUCKET}/{secrets.token_hex(8)}")


@dataclass(frozen=True)
class Found:
    """All that a month of the archive holds."""

    calls: tuple[CallRef, ...]
    ambiguous: tuple[tuple[CallRef, ...], ...]
    unmatched: tuple[str, ...]
    objects: int
    digest: str


def _take(storage: Storage, month: str = MONTH, shards: int = 1, **changes: object) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        listed = ListedMonth(month, shards, Path(folder))
        listed.take(storage, ArchiveSettings(**changes))  # type: ignore[arg-type]
        found = list(listed.inventories())
    return Found(
        calls=tuple(sorted((call for part in found for call in part.calls), key=lambda call: call.call_id)),
        ambiguous=tuple(sorted((group for part in found for group in part.ambiguous), key=lambda g: g[0].call_id)),
        unmatched=listed.unmatched,
        objects=listed.objects,
        digest=listed.digest,
    )


@pytest.mark.parametrize("month", ["2026-01", "2026-12", "1999-10"])
def test_months(month: str) -> None:
    """A month is a year and one of twelve."""
    assert month == check_month(month)


@pytest.mark.parametrize(
    "text", ["", "2026", "٢٠٢٦-10", "2026-00", "2026-13", "2026-1", "26-10", "2026/10", "2026-10 ", "2026-10-05"]
)
def test_what_is_no_month(text: str) -> None:
    """Everything else is refused by a sentence that shows how to write one."""
    with pytest.raises(SettingsError, match="must be YYYY-MM, such as 2026-10") as caught:
        check_month(text)
    assert repr(text) in caught.value.message


@given(st.datetimes(datetime(1000, 2, 1), datetime(9999, 12, 31)))  # noqa: DTZ001  # a clock of any place
def test_previous_month(now: datetime) -> None:
    """The month before is a month, one before, whatever the day."""
    before = check_month(previous_month(now))
    year, month = map(int, before.split("-"))
    assert now.year * 12 + now.month - 1 == year * 12 + month


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-01-01T00:00", "2025-12"),
        ("2026-01-31T23:59", "2025-12"),
        ("2026-02-01T00:00", "2026-01"),
        ("2026-03-31T12:00", "2026-02"),
        ("2026-12-31T23:59", "2026-11"),
    ],
)
def test_previous_month_over_the_year(now: str, expected: str) -> None:
    """January looks back into the year before."""
    assert expected == previous_month(datetime.fromisoformat(now))


@pytest.mark.parametrize(
    ("timezone", "expected"),
    [("UTC", "2025-11"), ("Europe/Berlin", "2025-12"), ("Asia/Kolkata", "2025-12"), ("America/New_York", "2025-11")],
)
def test_previous_month_by_the_clock_of_the_archive(timezone: str, expected: str) -> None:
    """In the last hour of the year by UTC, Berlin and Kolkata are in January already."""
    moment = datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    assert expected == previous_month(moment.astimezone(ZoneInfo(timezone)))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{year}/{month}/{day}/{call_id}.{ext}", "2026/10/"),
        ("{year}{month}{day}-{call_id}", "202610"),
        ("calls/{year}-{month}-{call_id}.wav", "calls/2026-10-"),
        ("{month}.{year}/{call_id}", "10.2026/"),
        ("{call_id}/{year}/{month}.wav", ""),
        ("raw/{agent}/{year}/{month}/{call_id}", "raw/"),
        ("{year}/{agent}/{month}/{call_id}", "2026/"),
        ("{year}/{month}/{year}{month}-{call_id}", "2026/10/202610-"),
    ],
)
def test_month_prefix(template: str, expected: str) -> None:
    """The listing is as narrow as the template allows."""
    assert expected == month_prefix(template, MONTH)


@given(_written_keys())
def test_a_template_reads_what_it_writes(written: tuple[str, dict[str, str], str]) -> None:
    """Every field comes back as it was written, whatever characters are in it or around it."""
    template, values, key = written
    match = template_pattern(template).fullmatch(key)
    assert match is not None
    assert values == match.groupdict()


@given(_written_keys())
def test_the_prefix_misses_no_key(written: tuple[str, dict[str, str], str]) -> None:
    """A key of a month is under the month's prefix."""
    template, values, key = written
    assert key.startswith(month_prefix(template, f"{values['year']}-{values['month']}"))


@pytest.mark.parametrize(
    "key",
    [
        "2026/10/5/call.wav",
        "2026/10/05/call",
        "2026/10/05/sub/call.wav",
        "2026/10/05/.wav",
        "26/10/05/call.wav",
        "x2026/10/05/call.wav",
        "2026/10/05/call.wav/",
    ],
)
def test_keys_that_the_default_template_does_not_read(key: str) -> None:
    """A key is read whole or not at all."""
    assert None is template_pattern("{year}/{month}/{day}/{call_id}.{ext}").fullmatch(key)


def test_a_field_used_twice_reads_the_same_twice() -> None:
    """A date in the folder and in the name must agree."""
    pattern = template_pattern("{year}/{month}/{year}{month}-{call_id}.wav")
    assert pattern.fullmatch("2026/10/202610-7.wav")
    assert None is pattern.fullmatch("2026/10/202609-7.wav")


@pytest.mark.parametrize("field", ["{0}", "{1st}", "{agent-id}", "{}"])
def test_a_template_with_a_field_that_is_no_name(field: str) -> None:
    """A field that cannot be one is refused with the settings, not by a crash in the run."""
    with pytest.raises(SettingsError, match=r"archive\.key_template"):
        load_settings(overrides={"archive": {"key_template": f"{{year}}/{{month}}/{field}/{{call_id}}"}})


def test_inventory(storage: Storage) -> None:
    """Every object under the month's prefix is in one place; those of other months are not looked at."""
    for key in (
        "2026/09/30/september.wav",
        "2026/10/01/one.wav",
        "2026/10/31/two.mp3",
        "2026/10/31/two-b.mp3",
        "2026/10/02/twice.wav",
        "2026/10/03/twice.flac",
        "2026/10/03/sub/deep.wav",
        "2026/10/README",
        "2026/11/01/november.wav",
        "other/2026/10/01/elsewhere.wav",
    ):
        storage.put(key, key.encode())
    found = _take(storage)
    assert ["one", "two", "two-b"] == [call.call_id for call in found.calls]
    assert [["2026/10/02/twice.wav", "2026/10/03/twice.flac"]] == [
        sorted(call.key for call in group) for group in found.ambiguous
    ]
    assert ("2026/10/03/sub/deep.wav", "2026/10/README") == found.unmatched
    assert 7 == found.objects


@pytest.mark.parametrize("shards", [2, 7])
def test_a_month_in_shards_is_the_whole_month(storage: Storage, shards: int) -> None:
    """Every object is in one shard; objects that claim one call_id are in the same."""
    for number in range(20):
        storage.put(f"2026/10/{number % 5 + 1:02d}/call-{number % 17}.wav", bytes(number))
    storage.put("2026/10/README", b"text")
    whole, parts = _take(storage), _take(storage, shards=shards)
    assert whole == replace(parts, digest=whole.digest)
    assert parts.digest != whole.digest
    assert (14, 3) == (len(whole.calls), len(whole.ambiguous))


def test_more_calls_than_wait_in_memory(tmp_path: Path) -> None:
    """A shard that is written in several goes is read as one."""
    (tmp_path / "2026/10/05").mkdir(parents=True)
    for number in range(2 * WAITING_CALLS + 7):
        (tmp_path / f"2026/10/05/call-{number:04d}.wav").touch()
    found = _take(open_storage(tmp_path.as_uri()))
    assert [f"call-{number:04d}" for number in range(2 * WAITING_CALLS + 7)] == [call.call_id for call in found.calls]


def test_the_digest_is_of_keys_and_etags(tmp_path: Path) -> None:
    """Whatever becomes of them: of calls, of those that share a call_id, and of keys that are not understood."""
    storage = open_storage(tmp_path.as_uri())
    digests = [_take(storage).digest]
    for key in ("2026/10/01/one.wav", "2026/10/02/one.wav", "2026/10/README", "2026/10/01/one.wav"):
        storage.put(key, secrets.token_bytes(8))
        digests.append(_take(storage).digest)
        assert digests[-1] == _take(storage).digest
    assert 5 == len(set(digests))


def test_a_name_in_an_old_encoding(tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is unmatched, and stops nobody."""
    (tmp_path / "2026/10/05").mkdir(parents=True)
    (tmp_path / "2026/10/05/good.wav").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/2026/10/05/caf\xe9.wav")).write_bytes(b"x")
    found = _take(open_storage(tmp_path.as_uri()))
    assert (["good"], 1) == ([call.call_id for call in found.calls], len(found.unmatched))
    assert 64 == len(found.digest)


def test_digits_of_other_scripts_are_no_month(tmp_path: Path) -> None:
    """A key that looks like one of another month only to Unicode is unmatched, not passed over in silence."""
    (tmp_path / "c1 ٢٠٢٦-10.wav").write_bytes(b"x")
    found = _take(open_storage(tmp_path.as_uri()), key_template="{call_id} {year}-{month}.wav")
    assert ("c1 ٢٠٢٦-10.wav",) == found.unmatched


def test_a_call_is_what_the_listing_says_of_it(storage: Storage) -> None:
    """Key, URI, ETag and size are the object's; hints are the archive's."""
    etag = storage.put("2026/10/05/call 1.wav", b"four")
    (call,) = _take(storage, language="de", speakers=2, channel_roles=("customer",)).calls
    expected = call_ref(
        "call 1",
        key="2026/10/05/call 1.wav",
        uri=storage.object_uri("2026/10/05/call 1.wav"),
        etag=etag,
        size_bytes=4,
        started_at=None,
        hints=CallHints("de", ("customer",), 2),
    )
    assert expected == call


def test_other_fields_are_attributes(tmp_path: Path) -> None:
    """What the template names beyond the known fields is kept with the call."""
    (tmp_path / "2026-10").mkdir()
    (tmp_path / "2026-10" / "sales+agent 7+c1.wav").write_bytes(b"x")
    (call,) = _take(
        open_storage(tmp_path.as_uri()), key_template="{year}-{month}/{queue}+{agent_id}+{call_id}.{ext}"
    ).calls
    assert ("c1", {"queue": "sales", "agent_id": "agent 7"}) == (call.call_id, call.attributes)


@pytest.mark.parametrize(
    ("timezone", "name", "expected"),
    [
        ("UTC", "05T093000", datetime(2026, 10, 5, 9, 30, tzinfo=UTC)),
        ("Europe/Berlin", "05T093000", datetime(2026, 10, 5, 7, 30, tzinfo=UTC)),
        ("America/New_York", "31T233059", datetime(2026, 11, 1, 3, 30, 59, tzinfo=UTC)),
        ("UTC", "31T246000", None),
        ("UTC", "32T093000", None),
    ],
)
def test_started_at(tmp_path: Path, timezone: str, name: str, expected: datetime | None) -> None:
    """A time in the key is by the archive's clock; an impossible one is none, and the call is there nevertheless."""
    (tmp_path / f"202610{name}-c1.wav").write_bytes(b"x")
    template = "{year}{month}{day}T{hour}{minute}{second}-{call_id}.wav"
    (call,) = _take(open_storage(tmp_path.as_uri()), timezone=timezone, key_template=template).calls
    assert expected == call.started_at


def test_a_day_is_no_time(tmp_path: Path) -> None:
    """A key that says the day only leaves the start unknown."""
    (tmp_path / "20261005-c1.wav").write_bytes(b"x")
    (call,) = _take(open_storage(tmp_path.as_uri()), key_template="{year}{month}{day}-{call_id}.wav").calls
    assert None is call.started_at


def test_a_template_that_makes_reused_ids_unique(tmp_path: Path) -> None:
    """Of recorders that count from one each day, no call is lost when the day is part of the call_id."""
    for day in ("05", "06"):
        (tmp_path / "2026" / "10" / day).mkdir(parents=True)
        (tmp_path / "2026" / "10" / day / f"2026-10-{day}-0001.wav").write_bytes(b"x")
    storage = open_storage(tmp_path.as_uri())
    template = "{year}/{month}/{day}/{call_id}.{ext}"
    assert ["2026-10-05-0001", "2026-10-06-0001"] == [
        call.call_id for call in _take(storage, key_template=template).calls
    ]


def test_a_missing_archive(tmp_path: Path) -> None:
    """An archive that is not there is no empty month."""
    with pytest.raises(StorageRefused, match="does not exist"):
        _take(open_storage((tmp_path / "nowhere").as_uri()))


def test_duplicates_are_named() -> None:
    """The sentence says which objects claim the call_id, and what to do."""
    message = duplicate_message([call_ref("c", key="2026/10/01/c.wav"), call_ref("c", key="2026/10/02/c.mp3")])
    assert "2026/10/01/c.wav, 2026/10/02/c.mp3" in message
    assert "archive.call_id_template" in message


_parts = st.tuples(st.sampled_from(["01", "02", "3"]), st.sampled_from("ab"), st.sampled_from([".wav", ".mp3", ""]))


@settings(max_examples=25)
@given(st.sets(_parts.map(lambda parts: f"2026/10/{parts[0]}/{parts[1]}{parts[2]}"), max_size=12))
def test_every_object_is_in_exactly_one_place(keys: set[str]) -> None:
    """However keys clash or miss the template, each is a call, one of several of a call_id, or unmatched."""
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder).as_uri())
        for key in keys:
            (Path(folder) / key).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / key).write_bytes(b"x")
        found = _take(storage)
    placed = [call.key for call in found.calls]
    placed += [call.key for group in found.ambiguous for call in group]
    placed += found.unmatched
    assert sorted(keys) == sorted(placed)
    assert len(keys) == found.objects
    claims = Counter(re.sub(r"^.*/|\..*$", "", key) for key in keys if re.fullmatch(r"2026/10/\d\d/\w\.\w+", key))
    assert {call_id for call_id, count in claims.items() if count == 1} == {call.call_id for call in found.calls}
    assert {call_id for call_id, count in claims.items() if count > 1} == {g[0].call_id for g in found.ambiguous}
