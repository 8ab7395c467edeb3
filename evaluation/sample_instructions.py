"""What lies in a sample for the people who transcribe it."""

from __future__ import annotations

from typing import Final

REFERENCES_NOTE: Final = """\
Save one file for each call here: CALL.stm, named as in ../drafts or ../audio. ../README.md says how.
"""

HEAD: Final = ";; call_id channel speaker start end text\n"
"""The first line of a draft: a comment."""

INSTRUCTIONS: Final = """\
# Calls to be transcribed

These are {calls:,} calls of {month}, drawn by chance. What you write is what the machine is measured by, so write what
is said, not what should have been said, and do not leave out the calls that are hard to understand: they count most.
{about_drafts}
## What to do with each call

Take the calls in the order in which they stand in `cases.jsonl`, and not the short or the clear ones first: then what
is done stands for the whole month, wherever you stop. `callscribe sample status` lists what is missing in that order.

1. Listen to the recording in `audio/`. Of a call in several files, each file is one channel.
{first_step}
3. Save the result as `references/CALL.stm`, as plain text (UTF-8). A call without a file there counts as not done.

A line is one utterance of one speaker, six things with a space between them:

    CALL 1 agent 12.300 15.850 thank you for calling how can I help you

| | |
| --- | --- |
| `CALL` | the call_id, the same in every line of the file |
| `1` | the channel of the recording, from 1 |
| `agent` | who speaks, in one word; the same person has the same word in the whole call. Never a person's name |
| `12.300 15.850` | start and end, in seconds from the start of the call; half a second more or less does no harm |
| the rest | what is said |

A new line begins when another person speaks, or after a pause. Lines that begin with `;` are comments.

## What to write

- **Every word that is said**, also those that are said twice or broken off (`I I wan- want to`), and also `um`, `yeah`
  and `okay`. Do not correct grammar, do not summarise, do not translate.
- **Numbers** in English in words, as they are said (`one hundred forty two dollars`, `four seven one one`). In other
  languages in digits, as one writes them in a letter (`142 Euro`): words are not taken for digits there.
- **Names and words that you do not know**: by ear, as well as you can.
- **Unclear words**: your best guess. Where you have none, write `[unclear]`. What stands in square brackets is no word,
  but what the machine heard in its place counts against it: use it seldom. Noises need not be written (`[laughs]`).
- **People who talk at once**: a line for each of them, whose times overlap. In a recording of one channel, too.
- **Who is not on the line**: announcements and voices in the room are written where the words can be understood, as a
  speaker of their own (`announcement`).
- **Punctuation and capitals** do not count. Do not write `/`, `{{` or `}}`.
- **Nobody speaks** in the whole call: save an empty file, `references/CALL.stm` without a line. That is not the same as
  no file.
- **Another language** than `cases.jsonl` says: transcribe it in the language that is spoken, and tell whoever gave you
  this folder, as it decides how words are compared.

`callscribe sample status` on this folder also says in which line of which file something is wrong.
These are recordings of people. Keep no copy, and tell nobody what is said in them.
"""

_WITH_DRAFTS: Final = """
`drafts/` has what the machine heard, to begin with. Change everything in it that is wrong: words, speakers, times, and
what is missing. Beware of it: what one has read, one tends to hear. Listen to each line before you believe it.
"""
_DRAFT_STEP: Final = "2. Copy `drafts/CALL.stm` and correct the copy while you listen."
_BLIND_STEP: Final = "2. Write down what you hear."


def instructions(month: str, calls: int, *, drafts: bool) -> str:
    """The text `README.md` of a sample.

    Args:
        month: `YYYY-MM`.
        calls: in the sample.
        drafts: whether it has drafts.
    """
    return INSTRUCTIONS.format(
        calls=calls,
        month=month,
        about_drafts=_WITH_DRAFTS if drafts else "",
        first_step=_DRAFT_STEP if drafts else _BLIND_STEP,
    )
