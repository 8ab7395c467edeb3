"""The loaded Whisper model, as batches see it: spectra in, words out. The one user of CTranslate2's Whisper.

faster-whisper brings the model, its tokenizer, its spectrum and its reading of the alignment; here every step takes a
batch, whose members may come from any call and be in any language. On the CPU the outcome for one member does not
depend on the others, to the last bit. What the encoder gives is kept in the memory of the host, in pieces of one chunk,
so that any chunks can be put into a batch again: in the language that was found, or for a second chance.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.errors import ProcessingError
from tasks.records import Samples
from tasks.tracks import MODEL_SAMPLING_RATE

if TYPE_CHECKING:
    import ctranslate2
    from ctranslate2.models import WhisperGenerationResult
    from faster_whisper import WhisperModel
    from faster_whisper.tokenizer import Tokenizer

Task = Literal["transcribe", "translate"]
Spectrum = NDArray[np.float32]
"""Log-mel spectrum of a chunk, `[mel, frame]`; silence fills it up to the length of its window."""
Encoded = NDArray[Any]
"""What the encoder made of a chunk, `[position, dimension]`, in the model's own precision."""

FRAMES_PER_SECOND = 100
WHOLE_WINDOW_S = 30.0
WINDOW_FRAMES = round(WHOLE_WINDOW_S * FRAMES_PER_SECOND)
# Windows that chunks are heard in, in seconds. Only chunks with the same window share a batch, so that there are few;
# and in those that are shorter than the whole one, so much silence is left after a chunk at least.
WINDOWS_S = (6.0, 10.0, 14.0, 20.0, 26.0, WHOLE_WINDOW_S)
WINDOW_MARGIN_S = 2.0
# Whisper's decoder holds 448 tokens; a half each is left to the prompt and to the text.
MOST_TEXT_TOKENS = 224
MOST_PROMPT_TOKENS = 200
# Of the aligner: marks that belong to the word after them, and before them (faster-whisper's defaults).
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001  # the full-width marks are meant


@dataclass(frozen=True, slots=True)
class Decoding:
    """How text is decoded.

    `no_repeat_ngram_size` forbids to say so many tokens twice; 0 forbids nothing.
    """

    beam_size: int
    task: Task = "transcribe"
    timestamps: bool = False
    no_repeat_ngram_size: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the decoder wrote for one chunk, with its own measures of trust (Whisper's)."""

    tokens: tuple[int, ...]
    text: str
    avg_logprob: float
    no_speech_prob: float

    @property
    def compression_ratio(self) -> float:
        """Bytes of the text by bytes of its zlib compression; high means repetition. 0 without text."""
        raw = self.text.strip().encode()
        return len(raw) / len(zlib.compress(raw)) if raw else 0.0


@dataclass(frozen=True, slots=True)
class Piece:
    """What the aligner takes for a word: text as the recogniser wrote it, times in the chunk in seconds."""

    text: str
    start: float
    end: float
    probability: float


class Whisper:
    """One loaded model, used for every batch of the process.

    Args:
        model: faster-whisper's; the filters of its spectrum are made sparse.
    """

    def __init__(self, model: WhisperModel) -> None:
        from scipy.sparse import csr_array

        # Their sums are in one order. Those of a whole matrix's product depend on how many cores there are, and a word
        # here and there hangs on the last bit.
        model.feature_extractor.mel_filters = csr_array(model.feature_extractor.mel_filters)
        self._model = model
        self._tokenizer = cache(self._open_tokenizer)

    def spectrum(self, samples: Samples, frames: int = WINDOW_FRAMES) -> Spectrum:
        """The log-mel spectrum of a chunk, cut or filled up with silence to so many frames. May run in any thread."""
        extractor = self._model.feature_extractor
        found = extractor(samples[: frames * MODEL_SAMPLING_RATE // FRAMES_PER_SECOND], padding=160)
        held = min(found.shape[1], frames)
        spectrum = np.zeros((found.shape[0], frames), dtype=np.float32)
        spectrum[:, :held] = found[:, :held]
        return spectrum

    def dimension(self) -> int:
        """The dimension of the model, found by encoding a second of silence."""
        silence = np.zeros(MODEL_SAMPLING_RATE, dtype=np.float32)
        (encoded,) = self.encode([self.spectrum(silence, FRAMES_PER_SECOND)])
        return int(encoded.shape[-1])

    def encode(self, spectra: Sequence[Spectrum]) -> list[Encoded]:
        """Run the encoder over a batch of spectra of one length; it gives a position for every two frames."""
        encoded = self._model.model.encode(_on_host(spectra), to_cpu=True)
        return list(_as_array(encoded))

    def languages(self, encoded: Sequence[Encoded]) -> list[dict[str, float]]:
        """The probability of every language (ISO 639-1, as Whisper names it) for each chunk of a batch."""
        if not self._model.model.is_multilingual:
            return [{"en": 1.0} for _ in encoded]
        found = self._model.model.detect_language(_on_host(encoded))
        return [{token[2:-2]: float(probability) for token, probability in one} for one in found]

    def prompt(self, language: str, decoding: Decoding, hot_words: Sequence[str] = ()) -> tuple[int, ...]:
        """The tokens that a chunk's text begins after: words that may be said, language, task, with times or without.

        Chunks go into one batch only where their prompts are equally long: CTranslate2 has them begin together.

        Raises:
            ProcessingError: the model does not know the language.
        """
        tokenizer = self._tokenizer(language, decoding.task)
        tokens: list[int] = []
        if hot_words:
            said = tokenizer.encode(" " + ", ".join(hot_words))
            tokens += [tokenizer.sot_prev, *said[:MOST_PROMPT_TOKENS]]
        tokens += tokenizer.sot_sequence
        return (*tokens, *(() if decoding.timestamps else (tokenizer.no_timestamps,)))

    def decode(
        self, encoded: Sequence[Encoded], prompts: Sequence[tuple[int, ...]], decoding: Decoding
    ) -> list[Decoded]:
        """Decode a batch.

        Args:
            encoded: the chunks, of one length.
            prompts: of each chunk, all of one length.
            decoding: how.
        """
        found = self._model.model.generate(
            _on_host(encoded),
            [list(prompt) for prompt in prompts],
            beam_size=decoding.beam_size,
            no_repeat_ngram_size=decoding.no_repeat_ngram_size,
            max_length=len(prompts[0]) + MOST_TEXT_TOKENS,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed(),
        )
        return [self._decoded(one) for one in found]

    def align(
        self, encoded: Sequence[Encoded], decoded: Sequence[Decoded], frames: Sequence[int], language: str
    ) -> list[list[Piece]]:
        """When each word was said: dynamic time warping over the decoder's attention (Whisper's method).

        Args:
            encoded: chunks of one language and one length.
            decoded: their texts.
            frames: frames of sound in each chunk, of 10 ms; what fills it up is left out.
            language: of all of them.
        """
        from faster_whisper.transcribe import merge_punctuations

        tokenizer = self._tokenizer(language, "transcribe")
        texts = [[token for token in one.tokens if token < tokenizer.eot] for one in decoded]
        try:
            aligned = self._model.find_alignment(tokenizer, texts, _on_host(encoded), list(frames))
        except IndexError:
            # faster-whisper trips over a chunk in which nothing aligns, such as one of a few frames: it has no pieces.
            if len(encoded) == 1:
                return [[]]
            return [self.align([encoded[i]], [decoded[i]], [frames[i]], language)[0] for i in range(len(encoded))]
        for words in aligned:
            merge_punctuations(words, PREPENDED, APPENDED)
        return [[_piece(word) for word in words if word["word"].strip()] for words in aligned]

    def _decoded(self, found: WhisperGenerationResult) -> Decoded:
        tokens = tuple(found.sequences_ids[0])
        text = self._tokenizer("en", "transcribe").decode(list(tokens))
        # CTranslate2 divides by the tokens without the end; Whisper's own mean counts the end too.
        likelihood = found.scores[0] * len(tokens) / (len(tokens) + 1)
        return Decoded(tokens, text, float(likelihood), float(found.no_speech_prob))

    def _suppressed(self) -> list[int]:
        from faster_whisper.transcribe import get_suppressed_tokens

        return list(get_suppressed_tokens(self._tokenizer("en", "transcribe"), [-1]))

    def _open_tokenizer(self, language: str, task: Task) -> Tokenizer:
        from faster_whisper.tokenizer import Tokenizer

        if language not in self._model.supported_languages:
            message = f"Whisper does not know the language {language!r}; name it by its ISO 639-1 code, such as en"
            raise ProcessingError(message)
        return Tokenizer(self._model.hf_tokenizer, self._model.model.is_multilingual, task=task, language=language)


def window_frames(seconds: float, least_s: float) -> int:
    """The frames of the window that a chunk is heard in: the next of `WINDOWS_S` that holds it and some silence.

    Whisper was trained on windows of 30 s, filled up with silence, and its encoder takes its time by their length,
    whatever they hold. In shorter ones it now and then says a chunk twice.

    Args:
        seconds: length of the chunk.
        least_s: of a window.
    """
    wanted_s = max(least_s, seconds + WINDOW_MARGIN_S)
    return round(next((one for one in WINDOWS_S if one >= wanted_s), WHOLE_WINDOW_S) * FRAMES_PER_SECOND)


def _on_host(rows: Sequence[NDArray[Any]]) -> ctranslate2.StorageView:
    import ctranslate2

    return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.stack(rows)))


def _as_array(view: ctranslate2.StorageView) -> NDArray[Any]:
    import ctranslate2

    # NumPy has no bfloat16; the decoder takes whatever it is given to its own precision.
    if view.dtype == ctranslate2.DataType.bfloat16:
        view = view.to(ctranslate2.DataType.float32)
    return np.array(view)


def _piece(word: dict[str, Any]) -> Piece:
    return Piece(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]))
