"""The groups of settings: names, types, defaults, meanings. `tasks.settings` reads their values."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.decoder import DecoderLimits
from tasks.decoding import RawEncoding, RawFormat
from tasks.device_list import parse_devices
from tasks.keys import braced, fields_of
from tasks.records import CallHints
from tasks.storage import StorageOptions

ONE_CHANNEL_ENCODINGS = frozenset({"vox", "gsm", "g722", "g726", "g723_1", "g729"})


class Group(BaseModel):
    """One group of settings; frozen, and an unknown name in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ArchiveSettings(Group):
    """Where the recorded calls lie, and what of them is accepted."""

    uri: str | None = Field(None, description="URI of the archive: `s3://bucket/prefix` or `file:///folder`.")
    key_template: str = Field(
        "{year}/{month}/{day}/{call_id}.{ext}",
        description="How keys are built; fields: year, month, day, call_id, ext, and any other name, which is kept "
        "as an attribute of the call.",
    )
    key_pattern: str | None = Field(
        None,
        description="Regular expression (Python's) that reads whole keys instead of the template; named groups: year, "
        "month, call_id, and any other.",
    )
    key_prefix: str = Field(
        "",
        description="With `key_pattern`: what the keys of a month begin with, such as `{year}/{month}/`; when empty, "
        "every run lists the whole archive.",
    )
    call_id_template: str = Field(
        "{call_id}",
        description="How the identity of a call is built from the fields of its key, where a recorder uses ids again: "
        "`{year}{month}{day}-{call_id}`.",
    )
    manifest: str | None = Field(
        None,
        description="URI of a list of the calls (Parquet, CSV or JSON lines) that is read instead of listing the "
        "archive; may hold `{year}` and `{month}`.",
    )
    timezone: str = Field("UTC", description="Time zone in which the archive's months and days are counted.")
    language: str | None = Field(
        None,
        pattern=r"^[a-z]{2,3}$",
        description="Language of every call (ISO 639-1); detected for each chunk of it when unset.",
    )
    languages: tuple[str, ...] = Field(
        (), description='Languages that occur, such as `["en", "es"]`: detection chooses among them; any when empty.'
    )
    speakers: int | None = Field(
        None, ge=1, description="How many people speak in every call, where that is known; else it is found out."
    )
    channel_roles: tuple[str, ...] = Field(
        ("agent", "customer"),
        description="Who is on channel 0, 1, … of a call that has one channel per person.",
    )
    max_bytes: int = Field(2_000_000_000, gt=0, description="Largest object accepted, in bytes.")
    max_duration_s: float = Field(12 * 3600, gt=0, description="Longest recording accepted, in seconds.")
    raw_encoding: RawEncoding | None = Field(
        None,
        description="Encoding of headerless recordings (mulaw, alaw, s8, u8, s16le, s16be, vox, gsm, g722, g726, "
        "g723_1, g729); unset: they are not read.",
    )
    raw_sampling_rate: int | None = Field(
        None, ge=1000, le=768_000, description="Sampling rate of headerless recordings, in Hz."
    )
    raw_channels: int | None = Field(None, ge=1, le=64, description="Channels of headerless recordings, interleaved.")
    raw_extensions: tuple[str, ...] = Field(
        (),
        description="Extensions of the files that are read so, where no decoder recognises them, such as "
        '`["ulaw", "raw"]`.',
    )

    def hints(self) -> CallHints:
        """What is known of every call of the archive."""
        return CallHints(self.language, self.channel_roles, self.speakers, self.languages)

    def raw_format(self, key: str) -> RawFormat | None:
        """How a file of this name is read where no decoder recognises it; None: it is not."""
        if self.raw_encoding is None or self.raw_sampling_rate is None or self.raw_channels is None:
            return None
        extension = PurePosixPath(key).suffix.lower().removeprefix(".")
        if extension not in {given.lower().removeprefix(".") for given in self.raw_extensions}:
            return None
        return RawFormat(self.raw_encoding, self.raw_sampling_rate, self.raw_channels)

    @model_validator(mode="after")
    def _raw_is_said_whole(self) -> ArchiveSettings:
        said = [self.raw_encoding, self.raw_sampling_rate, self.raw_channels, self.raw_extensions or None]
        if any(part is not None for part in said) and None in said:
            message = "raw_encoding, raw_sampling_rate, raw_channels and raw_extensions are set together or not at all"
            raise ValueError(message)
        if self.raw_encoding in ONE_CHANNEL_ENCODINGS and self.raw_channels != 1:
            message = f"headerless {self.raw_encoding} has one channel (raw_channels)"
            raise ValueError(message)
        return self

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: `Europe` alone is a folder
            message = "unknown time zone; use a name such as Europe/Berlin"
            raise ValueError(message) from error
        return value

    @field_validator("languages")
    @classmethod
    def _languages_are_codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(re.fullmatch(r"[a-z]{2,3}", language) is None for language in value):
            message = "must be ISO 639-1 codes, such as en"
            raise ValueError(message)
        return value

    @field_validator("channel_roles")
    @classmethod
    def _roles_are_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or any(not role or role.split() != [role] for role in value):
            message = "must be different single words, as they become speaker labels"
            raise ValueError(message)
        return value

    @field_validator("key_template")
    @classmethod
    def _template_names_the_call(cls, value: str) -> str:
        missing = [name for name in ("year", "month", "call_id") if f"{{{name}}}" not in value]
        if missing:
            message = f"must hold {braced(missing)}"
            raise ValueError(message)
        fields_of(value)
        return value

    @field_validator("key_pattern")
    @classmethod
    def _pattern_names_the_call(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            message = f"is no regular expression: {error}"
            raise ValueError(message) from error
        missing = [name for name in ("year", "month", "call_id") if name not in groups]
        if missing:
            message = f"must have the named groups {', '.join(f'(?P<{name}>…)' for name in missing)}"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _call_ids_are_of_fields(self) -> ArchiveSettings:
        fields = fields_of(self.call_id_template)
        known = re.compile(self.key_pattern).groupindex if self.key_pattern else fields_of(self.key_template)
        unknown = [name for name in fields if name not in known]
        if unknown or "call_id" not in fields:
            message = f"call_id_template must hold {{call_id}}, and only fields of the keys, not {braced(unknown)}"
            raise ValueError(message)
        return self

    @field_validator("manifest")
    @classmethod
    def _manifest_is_a_uri(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("s3://", "file:///")):
            message = "must be a URI: s3://bucket/key or file:///path"
            raise ValueError(message)
        return value


class TranscriptsSettings(Group):
    """Where the data set lies, and how large its files become."""

    uri: str | None = Field(None, description="URI of the data set: `s3://bucket/prefix` or `file:///folder`.")
    monthly_hours: float = Field(
        1000.0,
        gt=0,
        description="Audio hours that a full month holds; decides, once per month, into how many shards it is split.",
    )
    hours_per_shard: float = Field(
        250.0,
        gt=0,
        description="Audio hours that one shard (one file per table) should hold; every commit rewrites one.",
    )


class RetentionSettings(Group):
    """How long what is kept, in days since the call began (since the run was planned); unset: for ever."""

    calls_days: float | None = Field(None, gt=0, description="Days after which a call is erased, as by an erasure.")
    utterances_days: float | None = Field(
        None, gt=0, description="Days after which everything that was spoken in a call is removed; its row stays."
    )
    changes_days: float | None = Field(
        None, gt=0, description="Days after which what backfills changed in a call is removed."
    )
    runs_days: float | None = Field(
        None, gt=0, description="Days after which plans and records of an ended run are removed; certificates stay."
    )


class StorageSettings(Group):
    """How object storage is reached. Credentials come through boto3's own chain, never from here."""

    endpoint_url: str | None = Field(None, description="S3 endpoint, for stores other than AWS.")
    region: str | None = Field(None, description="Region of the bucket.")
    path_style: bool | None = Field(
        None, description="Path-style addressing; unset means yes when an endpoint is set, no otherwise."
    )
    ca_bundle: str | None = Field(None, description="File of the certificate authority that signed the endpoint.")
    connect_timeout_s: float = Field(5.0, gt=0, description="Time-out for a connection, in seconds.")
    read_timeout_s: float = Field(60.0, gt=0, description="Time-out for an answer, in seconds.")
    max_attempts: int = Field(5, ge=1, description="Tries of one request, the first included.")
    max_connections: int = Field(32, ge=1, description="Size of the connection pool.")
    encryption: Literal["AES256", "aws:kms"] | None = Field(
        None,
        description="Server-side encryption to ask for with every object that is written: `AES256` (SSE-S3) or "
        "`aws:kms` (SSE-KMS); unset leaves it to the bucket.",
    )
    kms_key_id: str | None = Field(
        None, min_length=1, description="Id or ARN of the key for `aws:kms`; unset means the bucket's or account's."
    )

    @model_validator(mode="after")
    def _key_is_for_kms(self) -> StorageSettings:
        if self.kms_key_id is not None and self.encryption != "aws:kms":
            message = "kms_key_id is the key of encryption aws:kms; set storage.encryption too"
            raise ValueError(message)
        return self

    def options(self) -> StorageOptions:
        """As the storage wants them."""
        return StorageOptions(**self.model_dump())


class DecoderSettings(Group):
    """What decoding one call may cost, in a process of its own."""

    max_memory_bytes: int = Field(
        DecoderLimits.max_memory_bytes, ge=10_000_000, description="Memory that decoding a call may take, in bytes."
    )
    max_cpu_s: float = Field(DecoderLimits.max_cpu_s, gt=0, description="CPU time that decoding a call may take, s.")
    max_wall_s: float = Field(DecoderLimits.max_wall_s, gt=0, description="Time that decoding a call may take, s.")
    max_output_bytes: int = Field(
        DecoderLimits.max_output_bytes, gt=0, description="Bytes of float32 samples that a call may decode to."
    )
    calls_per_process: int = Field(
        DecoderLimits.calls_per_process, ge=1, description="Calls after which a decoder's process is replaced."
    )

    def limits(self) -> DecoderLimits:
        """As the decoder wants them."""
        return DecoderLimits(**self.model_dump())


class AudioSettings(Group):
    """What is done to the sound before a model hears it."""

    loudness_lufs: float = Field(-23.0, ge=-60, le=-5, description="Target loudness (EBU R 128), in LUFS.")
    true_peak_dbtp: float = Field(-1.0, le=0, description="Highest true peak after the gain, in dBTP.")
    max_gain_db: float = Field(40.0, ge=0, description="Most gain that is ever applied, in dB.")
    set_crosstalk_aside: bool = Field(
        default=True,
        description="In calls with one channel per person, what a channel holds of another one's voice is no speech, "
        "and words that are its echo are set aside.",
    )
    denoise: Literal["off", "auto", "always"] = Field(
        "off",
        description="Noise reduction (noisereduce) before recognition; `auto`: in noisy channels, where the recogniser "
        "itself is surer with it.",
    )
    denoise_below_snr_db: float = Field(10.0, description="With `auto`: channels of a lower SNR are tried, in dB.")
    denoise_probe_s: float = Field(
        60.0, ge=0, description="With `auto`: seconds of speech that are recognised both ways; 0 means all."
    )


class VadSettings(Group):
    """Where speech is, by Silero's voice activity detector."""

    threshold: float = Field(0.5, gt=0, lt=1, description="Speech probability above which a frame is speech.")
    min_silence_ms: int = Field(1000, ge=0, description="Silence that ends a region, in milliseconds.")
    min_speech_ms: int = Field(0, ge=0, description="Shorter regions are dropped, in milliseconds.")
    pad_ms: int = Field(500, ge=0, description="Added to each side of a region, in milliseconds.")


class RecognizerSettings(Group):
    """How speech becomes words (Whisper, by faster-whisper and CTranslate2)."""

    kind: Literal["whisper", "fallback"] = Field(
        "whisper",
        description="Who recognises: `whisper`, the bundle's model on this machine; or `fallback`, the endpoint of the "
        "settings `fallback.*`, to which the sound of speech is then sent (docs/degradation.md).",
    )
    beam_size: int = Field(5, ge=1, description="Beam of the decoder.")
    chunk_s: float = Field(
        28.0, ge=5, le=30, description="Longest stretch of speech that is heard in one go, in seconds."
    )
    least_window_s: float | None = Field(
        None,
        ge=4,
        le=30,
        description="Shortest window in which a chunk is heard, in seconds. There are windows of 6, 10, 14, 20, 26 and "
        "30 s; a chunk is heard in the next that leaves 2 s of silence after it. 30: all are whole. Default: 6 with "
        "bundle `starter`, where that was measured; else 30.",
    )
    hot_words: tuple[str, ...] = Field(
        (), description="Names and terms that may be said in any call, for the recogniser to prefer."
    )
    translate: tuple[str, ...] = Field(
        (), description='Languages that are translated into English beside the original; `["*"]` means all.'
    )
    batch_size: int = Field(
        0, ge=0, description="Chunks that are decoded at once; 0: 8 on a CPU, as many as its memory holds on a GPU."
    )
    feature_threads: int = Field(2, ge=1, description="Threads that compute spectra ahead of the model.")
    cpu_threads: int = Field(0, ge=0, description="Threads on the CPU; 0 means all that may be used.")


class DiarizationSettings(Group):
    """Who speaks when, where several people share a channel (pyannote.audio)."""

    min_speakers: int = Field(1, ge=1, description="Fewest speakers of a call of one channel.")
    max_speakers: int = Field(4, ge=1, description="Most speakers of a channel.")
    shared_channels: tuple[str, ...] = Field(
        (),
        description="Of calls with a channel for each speaker, those channels in which several may speak (a "
        'conference, a hand-over), by role or as `SPEAKER_00`; `["*"]` means all. They are told apart by their voices.',
    )

    @model_validator(mode="after")
    def _fewest_before_most(self) -> DiarizationSettings:
        if self.min_speakers > self.max_speakers:
            message = f"min_speakers ({self.min_speakers}) is more than max_speakers ({self.max_speakers})"
            raise ValueError(message)
        return self


class UtteranceSettings(Group):
    """How words are grouped into utterances."""

    max_pause_s: float = Field(1.0, gt=0, description="A longer pause between words starts a new utterance, seconds.")
    sentence_pause_s: float = Field(
        0.5, ge=0, description="At the end of a sentence, a pause of this length does too, seconds."
    )
    long_s: float = Field(
        20.0, gt=0, description="An utterance that has lasted so long ends with the next sentence, seconds."
    )


class ModelSettings(Group):
    """Which models run, and on what."""

    bundle: str = Field("starter", description="Name of the model bundle.")
    folder: Path = Field(
        Path(platformdirs.user_cache_dir("callscribe", appauthor=False)) / "models",
        description="Folder that holds the pulled bundles.",
    )
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="`cpu`, `cuda` or `cuda:N`; never guessed.")
    compute_type: str = Field(
        "default",
        description="CTranslate2's compute type; `default` is int8 on cpu and float16 on cuda.",
    )

    @field_validator("folder")
    @classmethod
    def _home_is_meant(cls, value: Path) -> Path:
        return value.expanduser()


class ClusterSettings(Group):
    """Where the workers of Kubernetes work pools make their Jobs, for `callscribe reconcile`."""

    namespace: str = Field("callscribe", description="Namespace of the Kubernetes Jobs.")
    work_pools: tuple[str, ...] = Field(
        ("callscribe-gpu", "callscribe-cpu", "callscribe-control"),
        min_length=1,
        description="Work pools whose flow runs are looked after; those of others on the same server are left alone.",
    )
    grace_s: float = Field(
        300.0,
        ge=0,
        description="How long a flow run may be without its Kubernetes Job, or a Job outlive its flow run, in seconds: "
        "more than a worker takes to make one.",
    )


class ListPrice(Group):
    """What a managed service asks for a minute of audio, in USD, and on which day it did."""

    name: str
    usd_per_minute: float = Field(ge=0)
    as_of: date


# From public price guides, first tier, batch, without options such as speaker labels or redaction: look them up before
# you decide by them, and set your own.
LIST_PRICES = (
    ListPrice(name="Amazon Transcribe, batch", usd_per_minute=0.024, as_of=date(2026, 11, 26)),
    ListPrice(name="Google Speech-to-Text V2, standard", usd_per_minute=0.016, as_of=date(2026, 11, 26)),
    ListPrice(name="OpenAI whisper-1", usd_per_minute=0.006, as_of=date(2026, 11, 26)),
    ListPrice(name="Deepgram Nova, pre-recorded", usd_per_minute=0.0043, as_of=date(2026, 11, 26)),
)


class RunSettings(Group):
    """How a run is cut into jobs and how often calls are tried."""

    job_hours: float = Field(10.0, gt=0, description="Estimated audio hours of one job.")
    bytes_per_second: int = Field(
        8000, gt=0, description="Bytes of an archived second, to estimate hours from sizes (8000: mono mu-law)."
    )
    max_attempts: int = Field(3, ge=1, description="Tries of a call that fails for a passing reason.")
    assumed_rtfx: float = Field(
        50.0,
        gt=0,
        description="Audio hours that one worker does in an hour, for a quote before any run has measured it.",
    )
    worker_hour_price: float | None = Field(
        None, ge=0, description="Price of an hour of one worker (one GPU), for quotes; none is given when unset."
    )
    currency: str = Field("USD", description="Currency of that price, and of `budget_money`.")
    budget_worker_hours: float | None = Field(
        None,
        gt=0,
        description="Hours of workers (GPUs) that a run may take; it stops before they are exceeded, and goes on when "
        "it is given more.",
    )
    budget_money: float | None = Field(
        None, gt=0, description="The same in money, at `worker_hour_price`; the lower of the two counts."
    )
    list_prices: tuple[ListPrice, ...] = Field(
        LIST_PRICES,
        description="What managed services ask for the same audio, for comparison in quotes: tables of `name`, "
        "`usd_per_minute` and `as_of` (`[[run.list_prices]]`); none: `[]`. docs/runs.md has those by default.",
    )
    job_attempts: int = Field(5, ge=1, description="Tries of a job whose process dies.")
    checkpoint_every_s: float = Field(
        300.0,
        gt=0,
        description="Finished calls are kept in a checkpoint when a call ends and so many seconds have passed; a "
        "process that is killed loses no more.",
    )
    lease_s: float = Field(
        60.0,
        gt=0,
        description="A run that has not been heard of for so many seconds has died; the next one goes on with it.",
    )
    deployment: str | None = Field(
        None,
        description="Prefect deployment that does the jobs, as `transcribe-job/gpu`; unset: this process does them.",
    )
    slots: int = Field(
        10, ge=1, description="Jobs that the workers of `deployment` do at a time; a tenth more are submitted."
    )
    devices: str = Field(
        "",
        description="Devices of this machine that do jobs side by side, each in a process of its own: `cuda:0,cuda:1`, "
        "or `cpu:2` for two on the CPU; in place of `models.device`. Empty: this process does them.",
    )
    poll_s: float = Field(
        20.0, gt=0, description="How often a run asks Prefect's API what became of its jobs, seconds."
    )
    without_gpu: Literal["wait", "cpu", "fallback"] = Field(
        "wait",
        description="What may become of jobs while no GPU is to be had: they `wait`; or they may be run on the `cpu`, "
        "in int8, or with the `fallback` recogniser (`fallback.*`). A job is run so only where the plan of its run "
        "allows it, and its rows say so.",
    )
    gpu_patience_s: float | None = Field(
        3600.0,
        gt=0,
        description="How long submitted jobs may wait for a worker before that is told (log, event, note), and, unless "
        "`without_gpu` is `wait`, some are done in that other way; again after each such time.",
    )
    without_gpu_deployment: str = Field(
        "transcribe-job/cpu", description="Prefect deployment that does the jobs which are done in that other way."
    )
    without_gpu_slots: int = Field(2, ge=1, description="Jobs that are done in that other way at a time.")
    loader_threads: int = Field(
        0,
        ge=0,
        description="Calls that are fetched and decoded at a time, ahead of the models; 0: 2 on a CPU, 4 beside a GPU.",
    )
    heartbeat_file: Path | None = Field(
        None,
        description="A file that is touched as long as the models do something, for a liveness probe; none when unset.",
    )
    slow_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="A job warns where it does less than this share of the RTFx that its device is known to do; 0: "
        "never.",
    )

    @field_validator("devices")
    @classmethod
    def _devices_are_a_list(cls, value: str) -> str:
        parse_devices(value)
        return value

    @model_validator(mode="after")
    def _jobs_are_done_in_one_place(self) -> RunSettings:
        if self.devices and self.deployment:
            message = "devices are of this machine, and the workers of deployment do the jobs: unset one of the two"
            raise ValueError(message)
        if self.devices and self.without_gpu != "wait":
            message = f"without_gpu = {self.without_gpu!r} does not go with devices, which are named one by one"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _money_has_a_price(self) -> RunSettings:
        if self.budget_money is not None and not self.worker_hour_price:
            message = "budget_money needs worker_hour_price, by which it becomes worker hours"
            raise ValueError(message)
        return self


class GateSettings(Group):
    """What runs and backfills must show before they begin: a gate that their models and settings passed."""

    required: bool = Field(
        default=False,
        description="A run or backfill only begins where `callscribe gate SET --accept` was passed with its bundle and "
        "its settings (docs/evaluation.md); else it ends with exit code 14.",
    )
    set: str | None = Field(
        None, description="Name of the set that must have been passed, or `name` of the gate file; any when unset."
    )
    max_age_days: float | None = Field(
        None, gt=0, description="Days after which what was accepted does not count any more; unset: it always does."
    )
    any_compute_type: bool = Field(
        default=False,
        description="What was accepted in another compute type counts, too, such as int8 on a CPU for float16 on a "
        "GPU: words differ a little between the two.",
    )


class LogSettings(Group):
    """The log of a process, on stderr. No spoken word and no attribute value is in it."""

    format: Literal["text", "json"] = Field(
        "text", description="`text` for people; `json`: a line for a machine, with run, job, call_id and stage."
    )
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] | None = Field(
        None,
        description="Least level of lines; unset: `INFO` as json, `WARNING` as text. Libraries never write less than "
        "warnings; Prefect's own lines go by `PREFECT_LOGGING_LEVEL`.",
    )


class MetricSettings(Group):
    """Prometheus metrics of a run and of its jobs (docs/operations.md): scraped, or pushed, or neither."""

    port: int | None = Field(
        None, ge=1, le=65535, description="Port on which a process serves its metrics (`/metrics`); unset: none."
    )
    address: str = Field("0.0.0.0", description="Address on which it listens there.")  # noqa: S104  # what is scraped
    push_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="URL of a Pushgateway that is given the metrics instead; unset: none is.",
    )
    push_every_s: float = Field(15.0, gt=0, description="How often they are pushed, seconds.")
