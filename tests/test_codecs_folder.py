"""One call in the codecs and containers of ../shared/data/formats: each gives the transcript that the original gives.

Where the folder or the models are not there, the long test is skipped; what cuts references is tested everywhere.
"""

from pathlib import Path

import pytest

from evaluation.benchmarks.codecs import CodecResult, half_days_apart, heard_until, load_variants, measure, until
from evaluation.hypotheses import HypothesisUtterance
from evaluation.references import StmLine
from tasks.models import Models
from tasks.records import Word
from tasks.settings import load_settings

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"
NAMES = [variant.path.name for variant in load_variants(FOLDER)] if FOLDER.is_dir() else []


@pytest.fixture(scope="module")
def results(models: Models) -> dict[str, CodecResult]:
    """What came of each variant, by file name; all of them transcribed once."""
    return {result.variant.path.name: result for result in measure(FOLDER, models, load_settings())}


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there")
@pytest.mark.parametrize("name", NAMES)
def test_a_variant_keeps_the_word_error_rate_of_its_original(name: str, results: dict[str, CodecResult]) -> None:
    """It is transcribed, and its WER lies within 3 points of the original's: AMR and GSM within 8."""
    result = results[name]
    assert "transcribed" == result.call["outcome"], result.call["error"]
    assert result.kept, f"{result.difference_points} points from the original, {result.words}"


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there")
def test_the_manifest_names_the_variants() -> None:
    """Sixteen variants of one call: two with a wider bound, one that was cut, one without a header."""
    variants = load_variants(FOLDER)
    assert sorted(path.name for path in (FOLDER / "formats").glob("bank-03.*")) == sorted(NAMES)
    assert {"bank-03.mono.amrnb122.amr", "bank-03.mono.gsm610.wav"} == {
        variant.path.name for variant in variants if variant.bound_points > 3
    }
    assert {"bank-03.stereo.truncated60.wav": pytest.approx(32.4, abs=0.05)} == {
        variant.path.name: variant.cut_s for variant in variants if variant.cut_s is not None
    }
    assert [("mulaw", 8000, 1)] == [
        (variant.raw["raw_encoding"], variant.raw["raw_sampling_rate"], variant.raw["raw_channels"])
        for variant in variants
        if variant.raw is not None
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9.30 a.m. to 5 p.m.", "9.30 a m to 5 p m"),
        ("9.30 am to 5 pm.", "9.30 a m to 5 p m"),
        ("at 9AM, or 10 P.M?", "at 9 A m, or 10 P m?"),
        ("I am here at 9 amps", "I am here at 9 amps"),
    ],
)
def test_half_days_are_spelled_one_way(text: str, expected: str) -> None:
    """However Whisper writes them; the verb stays what it is."""
    assert expected == half_days_apart(text)


def test_a_reference_is_cut_at_a_time() -> None:
    """Of a line that crosses the cut, the share of its words that lies before it stays; what is later goes."""
    lines = [
        StmLine("call", 1, "agent", 0.0, 2.0, "how can i help"),
        StmLine("call", 1, "caller", 2.0, 6.0, "what are your hours"),
        StmLine("call", 1, "agent", 4.5, 5.0, "nine"),
    ]
    # The caller's words have their middles at 2.5, 3.5, 4.5 and 5.5 s.
    assert ["how can i help", "what are"] == [line.text for line in until(lines, 4.5)]
    assert ["how can i help", "what are your", "nine"] == [line.text for line in until(lines, 4.8)]
    assert tuple(lines) == until(lines, 60.0)
    assert () == until(lines, 0.0)


def test_a_hypothesis_is_cut_at_the_same_time() -> None:
    """Its words go by their own times."""
    words = (Word("What", 2.0, 2.4, 0.9), Word("are", 2.4, 3.0, 0.9), Word("your", 4.0, 5.0, 0.9))
    utterance = HypothesisUtterance("caller", 2.0, 5.0, "What are your", words)
    assert [("What are", words[:2])] == [(one.text, one.words) for one in heard_until([utterance], 4.5)]
    assert (utterance,) == heard_until([utterance], 5.0)
    assert () == heard_until([utterance], 2.0)
