"""Mixtures of known noise: true SNRs, the plan, recordings on disk, and the table of word errors."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation.benchmarks.denoise_table import Difference, Scored, Variant, difference, score, tables
from evaluation.benchmarks.mixtures import (
    CLEAN,
    DEMO,
    SNRS_DB,
    Clip,
    Recipe,
    Selection,
    load_clips,
    load_noisy,
    mix,
    mixtures,
    plan,
    write_mixture,
)
from evaluation.benchmarks.noises import KINDS, noise
from evaluation.fields import ReferenceFileError
from evaluation.rates import ErrorCounts

PART_S = 12


@pytest.fixture(scope="module")
def demo() -> list[Clip]:
    """The demo's clean calls."""
    return load_clips()


@pytest.fixture(scope="module")
def parts(demo: list[Clip]) -> list[Clip]:
    """The beginnings of them."""
    return [Clip(one.name, one.samples[: PART_S * 8000], one.level_dbfs, words=one.words) for one in demo]


def recipe(name: str = "one", snr_db: int | None = 10, kind: str = "white", reference: str = "a b c d") -> Recipe:
    """A recipe of a clip without sound."""
    return Recipe(Clip(name, np.zeros(0), -26.0, (reference,), "en", len(reference.split())), kind, snr_db, 1)


# -------------------------------------------------------------------------------------------------------- corpus


def test_demo_clips(demo: list[Clip]) -> None:
    """The clean calls with all that is said in them, and the noisy one as it is."""
    assert [name.partition(".")[0] for name in CLEAN] == [clip.name for clip in demo]
    assert all(80 <= clip.words <= 130 and -35 < clip.level_dbfs < -20 for clip in demo)
    assert demo[1].reference[1].startswith("hello i would like to return a jacket")
    (noisy,) = load_noisy()
    recorded, _ = soundfile.read(next(DEMO.rglob("demo-0005.flac")), dtype="float32")
    assert ("demo-0005", "noisy calls", "own", 1.0) == (noisy.name, noisy.band, noisy.kind, noisy.gain)
    assert np.array_equal(recorded, noisy.samples)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like the development set: calls, a noisy one, and a sentence with a band of 24 kHz."""
    for name in ("calls", "noisy", "multilingual"):
        (tmp_path / name).mkdir()
    shutil.copy(next(DEMO.rglob("demo-0001.wav")), tmp_path / "calls" / "c-1.mono.wav")
    shutil.copy(next(DEMO.rglob("demo-0002.wav")), tmp_path / "calls" / "c-1.stereo.wav")
    shutil.copy(next(DEMO.rglob("demo-0002.wav")), tmp_path / "calls" / "c-2.stereo.wav")
    shutil.copy(next(DEMO.rglob("demo-0001.wav")), tmp_path / "noisy" / "c-1.noise_8dB.wav")
    (tmp_path / "calls" / "c-1.stm").write_text("c-1 1 b 3 4 and two\nc-1 1 a 1 2 one\n")
    (tmp_path / "calls" / "c-2.stm").write_text("c-2 1 a 1 2 three four\n")
    (tmp_path / "calls" / "c-3.stm").write_text("c-3 1 a 1 2 without a recording\n")
    sound = np.random.default_rng(1).standard_normal((96_000, 2)) / 10
    soundfile.write(tmp_path / "multilingual" / "s.flac", sound, 48_000)
    soundfile.write(tmp_path / "multilingual" / "s.phone.wav", sound, 48_000)
    soundfile.write(tmp_path / "multilingual" / "switch.wav", sound, 48_000)
    (tmp_path / "multilingual" / "s.txt").write_text("Äpfel, zwei\n", encoding="utf-8")
    (tmp_path / "manifest.csv").write_text("file,kind,language\nmultilingual/s.flac,sentence,de-DE\n")
    return tmp_path


def test_folder(folder: Path, demo: list[Clip]) -> None:
    """Mono before stereo, words by time, sentences in their language and through the telephone's band."""
    first, second, sentence = load_clips(folder)[len(demo) :]
    assert ("c-1", ("one", "and two"), "en", 3) == (first.name, first.reference, first.language, first.words)
    assert np.array_equal(demo[0].samples, first.samples)
    assert ("c-2", ("three four",)) == (second.name, second.reference)
    assert np.array_equal(demo[1].samples, second.samples)
    assert ("s", ("Äpfel, zwei",), "de", 2, 2.0) == (
        sentence.name, sentence.reference, sentence.language, sentence.words, sentence.duration_s,
    )  # fmt: skip
    power = np.abs(np.fft.rfft(sentence.samples)) ** 2
    hz = np.fft.rfftfreq(len(sentence.samples), 1 / 8000)
    assert power[hz < 100].sum() < 0.001 * power.sum()
    assert ["demo-0005", "c-1.noise_8dB"] == [one.name for one in load_noisy(folder)]


def test_language_must_be_known(folder: Path) -> None:
    """A sentence in an unknown language cannot be normalised."""
    (folder / "manifest.csv").write_text("file,kind,language\n")
    with pytest.raises(ReferenceFileError, match=r"language of multilingual/s\.flac"):
        load_clips(folder)


# ------------------------------------------------------------------------------------------------------ mixtures


@pytest.mark.parametrize("kind", KINDS)
def test_noise(kind: str, parts: list[Clip]) -> None:
    """Of the clip's length, without offset, of a mean power of 1, and another for another seed."""
    made = noise(kind, parts, 0, np.random.default_rng(1))
    assert parts[0].samples.shape == made.shape
    assert pytest.approx((0, 1), abs=1e-9) == (np.mean(made), np.mean(made**2))
    assert np.array_equal(made, noise(kind, parts, 0, np.random.default_rng(1)))
    assert not np.allclose(made, noise(kind, parts, 0, np.random.default_rng(2)))


def test_babble_is_of_others(parts: list[Clip]) -> None:
    """Whoever speaks in a clip does not babble behind it, however few clips there are."""
    silent = Clip("silent", np.zeros(8000), -30.0)
    first = noise("babble", [silent, *parts[:2]], 0, np.random.default_rng(1))
    loud = Clip("loud", np.full(8000, 0.5), -6.0)
    assert np.array_equal(first, noise("babble", [loud, *parts[:2]], 0, np.random.default_rng(1)))


def test_clicks_are_clicks(parts: list[Clip]) -> None:
    """Most of the time next to nothing, and peaks far over the mean power, but not out of reach."""
    made = noise("clicks", parts, 0, np.random.default_rng(1))
    frames = np.mean(made.reshape(-1, 80) ** 2, axis=1)
    assert np.mean(frames < 0.01) > 0.4
    assert 18 < 20 * np.log10(np.max(np.abs(made))) < 33


@pytest.mark.parametrize("kind", KINDS)
def test_true_snr(kind: str, demo: list[Clip]) -> None:
    """What is in a mixture beside the clip lies as far under its active level as it says; nothing clips."""
    for snr_db in SNRS_DB:
        for clip in demo[:2]:
            made = mix(demo, Recipe(clip, kind, snr_db, 1))
            added = made.samples - made.gain * clip.samples
            speech_dbfs = clip.level_dbfs + 20 * np.log10(made.gain)
            assert pytest.approx(snr_db, abs=0.1) == speech_dbfs - 10 * np.log10(np.mean(added**2))
            assert np.float32 == made.samples.dtype
            assert np.max(np.abs(made.samples)) <= 0.901


def test_clean_has_nothing_added(demo: list[Clip]) -> None:
    """The clean band is the clip, brought to the level that speech has in all bands."""
    (made,) = mixtures(demo[:1], selection=Selection((None,)))
    assert ("demo-0001.clean", "clean", "none") == (made.name, made.band, made.kind)
    assert np.allclose(made.gain * demo[0].samples, made.samples, atol=1e-6)
    assert pytest.approx(-26) == demo[0].level_dbfs + 20 * np.log10(made.gain)


def test_mixtures_are_deterministic(parts: list[Clip]) -> None:
    """A mixture is the same whatever else is made; another seed or take is another noise."""
    every = {one.name: one.samples for one in mixtures(parts, 1, Selection((10, None), words_per_band=700))}
    some = list(mixtures(parts, 1, Selection((10,), ("clicks",), 700)))
    assert some
    assert all(np.array_equal(every[one.name], one.samples) for one in some)
    one = some[0]
    other_take = Recipe(one.clip, one.kind, one.snr_db, 2)
    assert not np.array_equal(one.samples, mix(parts, one, 2).samples)
    assert not np.array_equal(one.samples, mix(parts, other_take, 1).samples)


@pytest.mark.parametrize("words", [1, 300, 536, 1500, 5000])
def test_words_per_band(words: int, demo: list[Clip]) -> None:
    """Every band holds the words that are asked for, and would not without its last mixture."""
    recipes = plan(demo, Selection(words_per_band=words))
    assert len(recipes) == len({one.name for one in recipes})
    for snr_db in SNRS_DB:
        found = [one.clip.words for one in recipes if one.snr_db == snr_db]
        assert sum(found[:-1]) < words <= sum(found)
    clean = [one.clip.name for one in recipes if one.snr_db is None]
    assert {one.clip.name for one in recipes if one.snr_db == 0} == set(clean)
    assert len(clean) == len(set(clean))


def test_bands_are_alike(demo: list[Clip]) -> None:
    """Every band has the same clips under the same noise."""
    recipes = plan(demo)
    first, *others = ([(one.clip.name, one.kind, one.take) for one in recipes if one.snr_db == db] for db in SNRS_DB)
    assert all(first == other for other in others)


def test_kinds_are_balanced(demo: list[Clip]) -> None:
    """The words of the kinds differ by a clip at most; no clip meets a kind again before it has met all."""
    recipes = plan(demo, Selection((10,)))
    words = Counter[str]()
    for one in recipes:
        words[one.kind] += one.clip.words
    assert max(words.values()) - min(words.values()) <= max(clip.words for clip in demo)
    for clip in demo:
        met = Counter(one.kind for one in recipes if one.clip is clip)
        assert max(met.values()) - min(met[kind] for kind in KINDS) <= 1


def test_nothing_to_plan() -> None:
    """Without words there is nothing to mix."""
    assert [] == plan([]) == plan([Clip("a", np.zeros(8000), -20.0)])


def test_written_mixture(parts: list[Clip], tmp_path: Path) -> None:
    """16-bit PCM at 8 kHz, the same to a quantisation step."""
    made = next(mixtures(parts, selection=Selection((0,), ("clicks",))))
    write_mixture(made, tmp_path / f"{made.name}.wav")
    info = soundfile.info(tmp_path / f"{made.name}.wav")
    assert ("WAV", "PCM_16", 8000, 1) == (info.format, info.subtype, info.samplerate, info.channels)
    read, _ = soundfile.read(tmp_path / f"{made.name}.wav", dtype="float32")
    assert np.allclose(made.samples, read, atol=2 / 32768)


# --------------------------------------------------------------------------------------------------------- table


def hypotheses(texts: Sequence[tuple[Recipe, Variant, str]]) -> list[Scored]:
    """Score made-up transcripts."""
    return [score(one, text, variant) for one, variant, text in texts]


def test_scores() -> None:
    """Normalised as the language asks, each utterance alone."""
    numbers = recipe(reference="seven zero zero")
    assert ErrorCounts(1) == score(numbers, "700.", "off").counts
    assert ErrorCounts(1, substitutions=1, insertions=1) == score(numbers, ["7", "100"], "off").counts
    german = Recipe(Clip("d", np.zeros(0), -26.0, ("sieben Äpfel",), "de", 2), "hum", 5, 1)
    found = score(german, "Sieben, Äpfel!", "auto")
    assert Scored("d.hum-1.5dB", "d", "5 dB", "hum", "auto", ErrorCounts(2)) == found


def test_table() -> None:
    """Counts are added over files; the difference is that of the sums; noisiest band first, then those without SNR."""
    one, other, hum = recipe("one"), recipe("two", reference="e f g h i j"), recipe("one", kind="hum")
    clean = recipe("one", None, "none")
    found = hypotheses(
        [
            (clean, "off", "a b c d"), (clean, "always", "a b x d"), (clean, "auto", "a b c d"),
            (one, "off", "a b"), (one, "always", ""), (one, "auto", "a b c d"),
            (other, "off", "e f g h i x"), (other, "always", "e f g h i j k"), (other, "auto", "e f g h i j"),
            (hum, "off", "a b c d"), (hum, "always", "a b c d"), (hum, "auto", "a b c"),
        ]
    )  # fmt: skip
    rates, errors = tables(found).split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in rates.splitlines()[2:]]
    assert [
        ["10 dB", "white", "10", "30.0", "50.0", "0.0"],
        ["10 dB", "hum", "4", "0.0", "0.0", "25.0"],
        ["10 dB", "all kinds", "14", "21.4", "35.7", "7.1"],
        ["clean", "none", "4", "0.0", "25.0", "0.0"],
    ] == [row[:6] for row in rows]
    assert ["-30.0", "+25.0", "-14.3", "+0.0"] == [row[6].split()[0] for row in rows]
    assert "+25.0 (n/a)" == rows[1][6]
    assert "| 10 dB | white | 1 / 2 / 0 | 0 / 4 / 1 | 0 / 0 / 0 |" in errors


def test_interval() -> None:
    """The bootstrap draws clips: what all clips agree on is certain, and an interval holds what was found."""
    same = hypotheses([(recipe(f"c{n}"), variant, "a b c") for n in range(5) for variant in ("off", "auto")])
    assert Difference(0.0, (0.0, 0.0)) == difference(zip(same[::2], same[1::2], strict=True))
    mixed = [
        (score(recipe(f"c{n}"), "a b c d", "off"), score(recipe(f"c{n}"), "a b c d"[: 1 + 2 * (n % 4)], "auto"))
        for n in range(12)
    ]
    found = difference(mixed)
    assert found is not None
    assert found.interval is not None
    assert found.interval[0] < found.points < found.interval[1]
    assert pytest.approx(100 * 18 / 48) == found.points
    assert found == difference(mixed)


def test_undefined_rates() -> None:
    """A variant that nobody ran, and a reference without words, have no rate."""
    assert "| 10 dB | white | 4 | 25.0 | n/a | n/a | n/a |" in tables(hypotheses([(recipe(), "off", "a b c")]))
    empty = recipe(reference="")
    found = tables(hypotheses([(empty, variant, "x") for variant in ("off", "always", "auto")]))
    assert "| 10 dB | white | 0 | n/a | n/a | n/a | n/a |" in found
    assert "| 10 dB | white | 0 / 0 / 1 | 0 / 0 / 1 | 0 / 0 / 1 |" in found
    assert "| SNR | noise |" in tables([])


def test_only_what_all_variants_have() -> None:
    """A mixture that one variant lacks is left out of all of them, and one is not counted twice."""
    one, other = recipe("one"), recipe("two")
    found = hypotheses([(one, "off", "a b c d"), (one, "auto", "a b c"), (other, "off", "")])
    text = tables(found)
    assert "| 10 dB | white | 4 | 0.0 | n/a | 25.0 | +25.0 (n/a) |" in text
    assert "Mixtures left out, as not every variant has them: 1" in text
    with pytest.raises(ValueError, match="twice"):
        tables([*found, found[0]])
