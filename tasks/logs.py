"""The one place that says how log lines look and which are written; and what is being worked on, for every line.

A line of JSON has `time` (UTC), `level`, `logger`, `message`, then `run`, `job`, `call_id` and `stage` as far as they
are known, and the fields of `FIELDS` that a line of our own brings along. What is being worked on is said by
`working_on`; a line of whatever library, written meanwhile, carries it.

No spoken word and no attribute value gets into a line:
- lines of our own say what happened to a call by its id and error code; its error's message, which names its object, is
  in its row alone;
- of other libraries than Prefect, only warnings and worse are written, whatever level they are set to: what they say of
  their work below that may hold what they work on (a request, a text);
- of an exception, there are its type and the places in the code, and its message only where it is an error about what
  is around the calls (`UsageError`). Libraries quote in their messages the value that they choke on.

Python's own logging does it: the JSON formatters of other packages write every extra field that any library attaches.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from tasks.errors import UsageError
from tasks.setting_groups import LogSettings

OUR_PACKAGES = ("flows", "tasks", "evaluation")
# Fields that a line of our own may have beside its message, all of them numbers or from small sets.
FIELDS = ("outcome", "error_code", "audio_s", "calls", "jobs", "device", "compute_type", "bundle")
DEFAULT_LEVELS = {"json": "INFO", "text": "WARNING"}

Exc = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


@dataclass(frozen=True, slots=True)
class Work:
    """What is being worked on: a run, a job of it, a call, and a stage of its way; empty where it is not known."""

    run: str = ""
    job: str = ""
    call_id: str = ""
    stage: str = ""


# What a whole process works on: threads begin without what their starter's context says.
_process = Work()
_work: ContextVar[Work | None] = ContextVar("callscribe_work", default=None)


def work() -> Work:
    """What is being worked on here."""
    return _work.get() or _process


@contextmanager
def working_on(
    run: str | None = None, job: int | None = None, call_id: str | None = None, stage: str | None = None
) -> Iterator[None]:
    """Say what is worked on inside the block; what is not given stays as it is.

    A run or a job is said for the whole process, also for its threads: it works on one at a time. Never yield to a
    caller inside the block: a generator has no context of its own.
    """
    global _process  # noqa: PLW0603  # threads that others start have no other way to know
    given = {
        "run": run,
        "job": None if job is None else f"{job:04d}",
        "call_id": call_id,
        "stage": stage,
    }
    changed = replace(work(), **{name: value for name, value in given.items() if value is not None})
    before, token = _process, _work.set(changed)
    if run is not None or job is not None:
        _process = changed
    try:
        yield
    finally:
        _process = before
        _work.reset(token)


def configure_logs(settings: LogSettings) -> None:
    """Write the log of this process to stderr as the settings say; called again, as they say now.

    Prefect's lines go the same way: where its handler was there first, ours takes its place, and where it comes later,
    it finds the place taken. Which of its own lines it writes is its own setting (`PREFECT_LOGGING_LEVEL`).
    """
    level = logging.getLevelNamesMapping()[settings.level or DEFAULT_LEVELS[settings.format]]
    handler = _Stderr()
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    handler.addFilter(_is_ours_or_a_warning)
    root = logging.getLogger()
    for other in root.handlers[:]:
        if isinstance(other, _Stderr) or _is_prefects(other):
            root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))
    for name in OUR_PACKAGES:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(settings.format == "json")


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what is stderr at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """It is always the one that there is."""


def _is_prefects(handler: logging.Handler) -> bool:
    return type(handler).__module__.startswith("prefect.") and isinstance(handler, logging.StreamHandler)


def _is_ours_or_a_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.split(".")[0] in {*OUR_PACKAGES, "prefect"}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _known(work())
        if record.name.split(".")[0] in OUR_PACKAGES:
            line |= {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}
        if record.exc_info and record.exc_info[1]:
            line["exception"] = told(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """A record as a line for people, with what is being worked on at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; an exception follows in lines of its own."""
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        where = " ".join(f"{name}={value}" for name, value in _known(work()).items())
        line = f"{time} {record.levelname:<7} {record.name}: {record.getMessage()}{f' [{where}]' if where else ''}"
        if record.exc_info and record.exc_info[1]:
            line += f"\n{told(record.exc_info[1])}"
        return line


def told(error: BaseException) -> str:
    """What may be told of an exception: its type, the places that it came through, and what caused it.

    Its message only where it is about what is around the calls.

    Returns:
        lines, the outermost exception first.
    """
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        name = type(current).__name__
        said = f"{name}: {current.message}" if isinstance(current, UsageError) else name
        lines.append(f"caused by {said}" if lines else said)
        lines += [f"  {at.filename}:{at.lineno} in {at.name}" for at in traceback.extract_tb(current.__traceback__)]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n".join(lines)


def _known(current: Work) -> dict[str, str]:
    return {field.name: value for field in fields(current) if (value := getattr(current, field.name))}
