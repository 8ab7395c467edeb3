"""Write tests/data/meeteval/values.json: what meeteval computes for its own example files and for made-up calls.

meeteval has no wheel and needs a compiler, so it is no dependency of ours. To make the values anew::

    python3.11 -m venv meeteval
    meeteval/bin/pip install meeteval==0.4.3  # compiles C++
    meeteval/bin/python tests/make_meeteval_values.py

The made-up calls are drawn with a fixed seed: few different words, times on a coarse grid, speakers who overlap others
and themselves, so that there are many ties between alignments and many words at the very edge of what is within reach.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterable
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "data" / "meeteval"
PAIRS = (("ref.stm", "hyp.stm"), ("ref_siso.stm", "hyp_siso.stm"))
COLLARS = ("0.1", "0.5", "1", "5")
CALLS = 60


def main() -> None:
    """Compute and write all values."""
    import meeteval  # here, so that who looks for doctests need not have it

    logging.disable(logging.WARNING)
    files = []
    for pair in PAIRS:
        reference, hypothesis = (meeteval.io.load(FOLDER / name) for name in pair)
        files.append({"reference": pair[0], "hypothesis": pair[1], "sessions": _values(reference, hypothesis, COLLARS)})
    draw = random.Random(20261127)  # noqa: S311  # no secret depends on it
    calls = []
    for _ in range(CALLS):
        stm, collar = [_side(draw), _side(draw)], draw.choice(COLLARS)
        reference, hypothesis = (meeteval.io.STM.parse(text) for text in stm)
        values = _values(reference, hypothesis, [collar])["call"]
        calls.append({"reference": stm[0], "hypothesis": stm[1], **values})
    content = {"meeteval": version("meeteval"), "files": files, "calls": calls}
    (FOLDER / "values.json").write_text(json.dumps(content, indent=1) + "\n")


def _values(reference: object, hypothesis: object, collars: Iterable[str]) -> dict[str, Any]:
    """cpWER, tcpWER with each collar, and ORC-WER, session by session."""
    import meeteval

    cp, orc = meeteval.wer.cpwer(reference, hypothesis), meeteval.wer.orcwer(reference, hypothesis)
    timed = {collar: meeteval.wer.tcpwer(reference, hypothesis, collar=Decimal(collar)) for collar in collars}
    return {
        session: {
            "cpwer": _plain(cp[session]),
            "orcwer": _plain(orc[session]),
            "tcpwer": {collar: _plain(found[session]) for collar, found in timed.items()},
        }
        for session in sorted(cp)
    }


def _plain(found: object) -> dict[str, Any]:
    """The counts of an error rate, and for cpWER and tcpWER who is whom."""
    plain = {key: getattr(found, key) for key in ("errors", "length", "substitutions", "deletions", "insertions")}
    if hasattr(found, "missed_speaker"):
        plain |= {"assignment": found.assignment, "missed": found.missed_speaker, "extra": found.falarm_speaker}
    return plain


def _side(draw: random.Random) -> str:
    """A made-up transcript as STM."""
    grid, lines = draw.choice((0.1, 0.25, 0.5)), []
    for speaker in draw.sample("wxyz", draw.randint(1, 3)):
        start = 0
        for _ in range(draw.randint(1, 4)):
            start = max(0, start + draw.randint(-2, 8))
            end = start + draw.randint(0, 12)
            words = " ".join(draw.choice(("a", "bb", "ccc", "defg")) for _ in range(draw.randint(1, 6)))
            lines.append(f"call 1 {speaker} {start * grid:.3f} {end * grid:.3f} {words}\n")
            start = end
    draw.shuffle(lines)
    return "".join(lines)


if __name__ == "__main__":
    main()
