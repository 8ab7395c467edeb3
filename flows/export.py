"""One call's transcript in the formats that `callscribe transcribe` writes. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from evaluation.formats import RttmTurn, StmLine, serialise_rttm, serialise_stm
from tasks.rows import CallRows
from tasks.schemas import MAP_COLUMNS
from tasks.tables import to_parquet


def render(rows: CallRows, format_name: str) -> bytes:
    """A call in one of `FORMATS`.

    Args:
        rows: its row and utterances.
        format_name: a key of `FORMATS`.
    """
    return FORMATS[format_name](rows)


def readable(utterances: Iterable[Mapping[str, Any]]) -> str:
    """Utterances as people read them: a line each, `[m:ss] speaker: text`."""
    lines = [f"[{_clock(item['start'])}] {item['speaker']}: {item['text']}" for item in utterances]
    return "\n".join(lines) + "\n" if lines else ""


def _txt(rows: CallRows) -> bytes:
    return readable(rows.utterances).encode()


def _json(rows: CallRows) -> bytes:
    # Maps are lists of pairs in a row; JSON has a better word for them.
    call = {
        name: dict(value) if name in MAP_COLUMNS else value for name, value in rows.call.items() if value is not None
    }
    document = {"call": call, "utterances": rows.utterances}
    return (json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n").encode()


def _srt(rows: CallRows) -> bytes:
    cues = [
        f"{number}\n{_stamp(item['start'], ',')} --> {_stamp(item['end'], ',')}\n{item['speaker']}: {item['text']}\n"
        for number, item in enumerate(rows.utterances, start=1)
    ]
    return "\n".join(cues).encode()


def _vtt(rows: CallRows) -> bytes:
    cues = [
        f"{_stamp(item['start'], '.')} --> {_stamp(item['end'], '.')}\n"
        f"<v {_escape(item['speaker'])}>{_escape(item['text'])}\n"
        for item in rows.utterances
    ]
    return "\n".join(["WEBVTT\n", *cues]).encode()


def _stm(rows: CallRows) -> bytes:
    lines = [
        StmLine(_label(item["call_id"]), item["channel"] + 1, item["speaker"], item["start"], item["end"], item["text"])
        for item in rows.utterances
    ]
    return serialise_stm(lines).encode()


def _rttm(rows: CallRows) -> bytes:
    turns = [
        RttmTurn(_label(item["call_id"]), item["channel"] + 1, item["start"], item["end"], item["speaker"])
        for item in rows.utterances
    ]
    return serialise_rttm(turns).encode()


def _parquet(rows: CallRows) -> bytes:
    return to_parquet(rows.spoken)


FORMATS: Mapping[str, Callable[[CallRows], bytes]] = {
    "txt": _txt,
    "json": _json,
    "srt": _srt,
    "vtt": _vtt,
    "stm": _stm,
    "rttm": _rttm,
    "parquet": _parquet,
}


def _label(name: str) -> str:
    """A name for STM and RTTM, whose fields end at white space."""
    return "_".join(name.split())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:d}:{rest:02d}"


def _stamp(seconds: float, decimal: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, fraction = divmod(rest, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{decimal}{fraction:03d}"


def _escape(text: str) -> str:
    """WebVTT reads `&` and `<` as markup, `>` as the end of a name, and `-->` as a time line."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
