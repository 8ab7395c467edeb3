"""Pulling from a Hugging Face hub, and loading what community-1 is made of, against a hub on loopback."""

import contextlib
import hashlib
import io
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import huggingface_hub.utils._http
import numpy as np
import pytest
import yaml
from hub import FakeHub
from sounds import track

from tasks.bundle_hub import PRODUCTION_SOURCES, HubSource, build_from_hub
from tasks.bundle_sources import builder
from tasks.bundles import Builder, Bundle, open_bundle, pull_bundle
from tasks.devices import Device
from tasks.diarize import Diarizer, load_diarizer
from tasks.errors import BundleError
from tasks.models import load_models
from tasks.setting_groups import DiarizationSettings, ModelSettings, RecognizerSettings
from tasks.settings import hub_access
from tasks.tracks import Track

REPOSITORY = "acme/small-model"
REVISION = "3533c8cf8e369892e6b79ff1bf80f7b0286a54ee"
FILES = {"config.json": b'{"size": 1}\n', "weights/model.bin": b"\x00\x01" * 50_000}
TOKEN = "hf_" + "t" * 34
CANNOT_FETCH = "cannot fetch acme/small-model/config.json at 3533c8cf8e36 from"
CPU = Device("cpu", 0, "cpu", "int8")


def sources_of(files: dict[str, bytes], repository: str = REPOSITORY, folder: str = "recognizer") -> HubSource:
    """The pinned source of these files."""
    return HubSource(
        repository=repository,
        revision=REVISION,
        licence="MIT",
        folder=folder,
        files={path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
    )


def build_with(
    hub: FakeHub | str, *sources: HubSource, token: str | None = None, said: list[str] | None = None
) -> Builder:
    """Build `tiny` from a hub, or from the endpoint of one."""
    endpoint = hub if isinstance(hub, str) else hub.endpoint
    heard = [] if said is None else said
    return lambda folder, _say: build_from_hub(folder, heard.append, "tiny", sources, endpoint, token)


def pull(models: Path, build: Builder) -> Bundle:
    """Pull `tiny`."""
    return pull_bundle(models, "tiny", build, lambda _text: None)[0]


def refusal(models: Path, build: Builder) -> str:
    """The message of a pull that must fail; it is one line, and nothing is left of the pull."""
    with pytest.raises(BundleError) as raised:
        pull(models, build)
    assert [] == list(models.iterdir())
    assert "\n" not in raised.value.message
    return raised.value.message


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub that serves `FILES`."""
    files = {(REPOSITORY, REVISION, path): content for path, content in FILES.items()}
    with FakeHub(files, large={(REPOSITORY, "weights/model.bin")}) as server:
        yield server


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's client try again at once: it would wait 23 s in all before it gives a hub up."""
    hurried = types.SimpleNamespace(sleep=lambda _seconds: None)
    monkeypatch.setattr(huggingface_hub.utils._http, "time", hurried)


def test_files_land_in_their_folders(hub: FakeHub, tmp_path: Path) -> None:
    """Every file lies under its source's folder, byte for byte, and the manifest says where it is from."""
    said: list[str] = []
    other = {"plda/plda.npz": b"numbers"}
    hub.files["acme/other", REVISION, "plda/plda.npz"] = other["plda/plda.npz"]
    sources = (sources_of(FILES), sources_of(other, "acme/other", "diarization"))
    bundle = pull(tmp_path, build_with(hub, *sources, said=said))
    assert ["fetching acme/small-model at 3533c8cf8e36", "fetching acme/other at 3533c8cf8e36"] == said
    placed = {f"recognizer/{path}": content for path, content in FILES.items()}
    placed["diarization/plda/plda.npz"] = b"numbers"
    assert placed == {file.path: (bundle.folder / file.path).read_bytes() for file in bundle.manifest.files}
    assert {REPOSITORY, "acme/other"} == {file.source for file in bundle.manifest.files}
    assert {(REVISION, "MIT")} == {(file.version, file.licence) for file in bundle.manifest.files}
    assert ("tiny", "community-1") == (bundle.name, bundle.manifest.diarization)


def test_pull_leaves_the_bundle_alone(hub: FakeHub, tmp_path: Path) -> None:
    """What the hub's client keeps beside its downloads is gone after a pull, and its user's cache is not touched."""
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--acme--small-model"
    pull(tmp_path, build_with(hub, sources_of(FILES)))
    assert ["tiny"] == [path.name for path in tmp_path.iterdir()]
    assert {"config.json", "model.bin", "manifest.json"} == {
        path.name for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()
    }
    assert not cache.exists()


def test_only_the_pinned_revision_is_asked_for(hub: FakeHub, tmp_path: Path) -> None:
    """Only the pinned files at the pinned revision are asked for: no listing, no branch, no statistics."""
    pull(tmp_path, build_with(hub, sources_of(FILES)))
    asked = {request.path for request in hub.requests if not request.path.startswith("/store/")}
    assert {f"/{REPOSITORY}/resolve/{REVISION}/{path}" for path in FILES} == asked


def test_endpoint_may_end_in_a_slash(hub: FakeHub, tmp_path: Path) -> None:
    """HF_ENDPOINT with a slash at its end leads to the same addresses."""
    pull(tmp_path, build_with(hub.endpoint + "/", sources_of(FILES)))
    assert f"/{REPOSITORY}/resolve/{REVISION}/config.json" == hub.requests[0].path


def test_wrong_bytes_are_refused(hub: FakeHub, tmp_path: Path) -> None:
    """A file that is not byte for byte the pinned one is refused by name, and nothing of the bundle stays."""
    hub.files[REPOSITORY, REVISION, "weights/model.bin"] = b"\x00\x01" * 49_999 + b"\x01\x01"
    message = refusal(tmp_path, build_with(hub, sources_of(FILES)))
    assert message.startswith("acme/small-model/weights/model.bin is not the file that is pinned: sha256 ")
    assert message.endswith("; it was not opened")


def test_no_token_unless_it_is_given(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token of ours none is shown, not even the one that the user's hub client has kept."""
    kept = tmp_path / "token"
    kept.write_text("hf_kept")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(kept))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    pull(tmp_path / "models", build_with(hub, sources_of(FILES)))
    assert {None} == {request.token for request in hub.requests}


def test_token_is_shown_to_the_hub_alone(hub: FakeHub, tmp_path: Path) -> None:
    """A token goes to the hub with every request, and never to the store that the hub redirects to."""
    hub.gated.add(REPOSITORY)
    hub.tokens.add(TOKEN)
    pull(tmp_path, build_with(hub, sources_of(FILES), token=TOKEN))
    shown = {request.host: set[str | None]() for request in hub.requests}
    for request in hub.requests:
        shown[request.host].add(request.token)
    assert {hub.endpoint.removeprefix("http://"): {TOKEN}, hub.store_host: {None}} == shown


@pytest.mark.parametrize("token", [None, "", TOKEN], ids=["none", "empty", "of an account that accepted nothing"])
def test_gated_repository(hub: FakeHub, tmp_path: Path, token: str | None) -> None:
    """A gated repository is told with what to do: accept its conditions, and set HF_TOKEN."""
    hub.gated.add(REPOSITORY)
    message = refusal(tmp_path, build_with(hub, sources_of(FILES), token=token))
    expected = (
        "acme/small-model is gated: accept its conditions on its page, then set HF_TOKEN to a token that may read it"
    )
    assert expected == message
    assert TOKEN not in message


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_hub_that_refuses(hub: FakeHub, tmp_path: Path, status: int) -> None:
    """Whatever status the hub answers, the message names the file, the revision, the hub and the status."""
    hub.status = status
    message = refusal(tmp_path, build_with(hub, sources_of(FILES), token=TOKEN))
    assert f"{CANNOT_FETCH} {hub.endpoint}: {status} {HTTPStatus(status).phrase}" == message


def test_hub_that_says_why(hub: FakeHub, tmp_path: Path) -> None:
    """The hub's own words, such as those about a token that may not read, are in the message."""
    hub.status, hub.words = 403, "Please enable access to public gated repositories in your token settings"
    assert f"{CANNOT_FETCH} {hub.endpoint}: 403 {hub.words}" == refusal(tmp_path, build_with(hub, sources_of(FILES)))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (("acme/other", REVISION, "config.json"), "Repository not found"),
        ((REPOSITORY, "f" * 40, "config.json"), f"Invalid rev id: {REVISION}"),
        ((REPOSITORY, REVISION, "other.json"), "Entry not found"),
    ],
)
def test_hub_that_lacks(hub: FakeHub, tmp_path: Path, key: tuple[str, str, str], reason: str) -> None:
    """What the hub lacks, repository, revision or file, is in the message."""
    hub.files = {key: FILES["config.json"]}
    message = refusal(tmp_path, build_with(hub, sources_of(FILES)))
    assert f"{CANNOT_FETCH} {hub.endpoint}: 404 {reason}" == message


@pytest.mark.usefixtures("_impatient")
def test_hub_that_is_not_there(tmp_path: Path) -> None:
    """A hub that refuses connections is told in one sentence, with its address and the system's reason."""
    with FakeHub() as gone:
        endpoint = gone.endpoint
    message = refusal(tmp_path, build_with(endpoint, sources_of(FILES)))
    assert f"{CANNOT_FETCH} {endpoint}: [Errno 111] Connection refused" == message


def test_something_else_than_a_hub(hub: FakeHub, tmp_path: Path) -> None:
    """A server that answers, and is no hub (a login page of a network, a proxy), is told as such."""
    hub.status = 200
    message = refusal(tmp_path, build_with(hub, sources_of(FILES)))
    assert message.startswith(f"{CANNOT_FETCH} {hub.endpoint}: Response from ")
    assert "does not seem to be served by a Hugging Face Hub endpoint" in message


def test_endpoint_that_is_no_address(tmp_path: Path) -> None:
    """An endpoint without a protocol is told, not raised."""
    message = refusal(tmp_path, build_with("huggingface.co", sources_of(FILES)))
    assert f"{CANNOT_FETCH} huggingface.co: Request URL is missing an 'http://' or 'https://' protocol." == message


def test_connection_that_breaks(hub: FakeHub, tmp_path: Path) -> None:
    """A connection that is reset in the middle of a file ends the pull in one sentence."""
    hub.cut = True
    message = refusal(tmp_path, build_with(hub, sources_of(FILES)))
    assert f"{CANNOT_FETCH} {hub.endpoint}: [Errno 104] Connection reset by peer" == message


def test_offline_but_for_the_pull(hub: FakeHub, tmp_path: Path) -> None:
    """The hub's client is offline before a pull and after it, whether it succeeded or failed."""
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    pull(tmp_path / "models", build_with(hub, sources_of(FILES)))
    asked = len(hub.requests)
    assert asked > 0
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    with pytest.raises(OSError, match="locate the file on the Hub"):
        huggingface_hub.hf_hub_download(REPOSITORY, "config.json", endpoint=hub.endpoint, cache_dir=tmp_path / "cache")
    assert asked == len(hub.requests)

    hub.files.clear()
    with pytest.raises(BundleError):
        pull(tmp_path / "others", build_with(hub, sources_of(FILES)))
    assert huggingface_hub.constants.HF_HUB_OFFLINE


def test_access_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint and token come from the variables that the hub's own tools read."""
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example.invalid")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert ("https://mirror.example.invalid", TOKEN) == hub_access()
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.delenv("HF_TOKEN")
    assert (None, None) == hub_access()


def test_production_sources_are_pinned() -> None:
    """Every repository of `production` is pinned to a commit, every file to a digest, and each has its place."""
    for source in PRODUCTION_SOURCES:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", source.repository)
        assert re.fullmatch(r"[0-9a-f]{40}", source.revision)
        assert source.licence in {"MIT", "CC-BY-4.0"}
        for path, sha256 in source.files.items():
            assert re.fullmatch(r"[0-9a-f]{64}", sha256)
            assert ".." not in Path(path).parts
            assert not Path(path).is_absolute()
    digests = [sha256 for source in PRODUCTION_SOURCES for sha256 in source.files.values()]
    assert len(digests) == len(set(digests))
    assert ["recognizer", "diarization"] == [source.folder for source in PRODUCTION_SOURCES]
    layout = {"config.yaml", "plda/plda.npz", "plda/xvec_transform.npz"}
    models = {"segmentation/pytorch_model.bin", "embedding/pytorch_model.bin"}
    assert layout | models == set(PRODUCTION_SOURCES[1].files)


def test_production_is_built_from_its_sources(hub: FakeHub, tmp_path: Path) -> None:
    """The builder of `production` asks for the first pinned file, with endpoint and token that it is given."""
    with pytest.raises(BundleError, match=r"Systran/faster-whisper-large-v3/config\.json at edaa852ec7e1"):
        pull_bundle(tmp_path, "production", builder("production", (hub.endpoint, TOKEN)), lambda _text: None)
    first = PRODUCTION_SOURCES[0]
    assert f"/{first.repository}/resolve/{first.revision}/config.json" == hub.requests[0].path
    assert TOKEN == hub.requests[0].token


def test_command_line_tells_in_one_sentence(hub: FakeHub, tmp_path: Path) -> None:
    """`callscribe models pull production` from a hub that lacks the files: one sentence, exit code 5, no traceback."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CALLSCRIBE_"))}
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "models", "pull", "production"],
        env={
            **environment,
            "HF_ENDPOINT": hub.endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path / "hf"),
            "CALLSCRIBE_MODELS__FOLDER": str(tmp_path / "models"),
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert 5 == done.returncode
    assert "" == done.stdout
    first = f"Systran/faster-whisper-large-v3 at {PRODUCTION_SOURCES[0].revision[:12]}"
    missing = first.replace(" at", "/config.json at")
    assert [
        f"fetching {first}",
        f"error: cannot fetch {missing} from {hub.endpoint}: 404 Repository not found",
    ] == done.stderr.splitlines()
    assert TOKEN not in done.stderr
    assert [] == list((tmp_path / "models").iterdir())


# --- what community-1 is made of: loaded and run from a pulled bundle -------------------------------------------------

DIARIZATION_REPOSITORY = "pyannote/speaker-diarization-community-1"
# The published config.yaml, byte for byte: a test compares its digest with the pinned one.
CONFIG = """\
dependencies:_
  pyannote.audio: 4.0.0

pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: VBxClustering
    segmentation: $model/segmentation
    segmentation_batch_size: 32
    embedding: $model/embedding
    embedding_batch_size: 32
    embedding_exclude_overlap: true
    plda: $model/plda
____
params:
  clustering:
    threshold: 0.6
    Fa: 0.07
    Fb: 0.8
  segmentation:
    min_duration_off: 0.0
""".replace("dependencies:_", "dependencies: ").replace("____", "    ")  # spaces at ends of lines
EMBEDDING_SIZE, LDA_SIZE = 256, 128


def _checkpoint(model: Any) -> bytes:  # noqa: ANN401  # pyannote.audio is imported by those who call
    """A model in the format of pyannote's pytorch_model.bin: Lightning's, with pyannote's own part."""
    import lightning
    import torch

    content = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": lightning.__version__,
        "epoch": 0,
        "global_step": 0,
    }
    model.on_save_checkpoint(content)
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _segmentation() -> bytes:
    """A powerset PyanNet, tiny and random, that hears two people in every window of our noise."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(4)
    lstm = {"hidden_size": 16, "num_layers": 1, "bidirectional": True, "monolithic": True, "dropout": 0.0}
    model = PyanNet(lstm=lstm, linear={"hidden_size": 16, "num_layers": 1})
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=5.0,
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    model.build()
    with torch.no_grad():
        model.classifier.weight.mul_(50)
    return _checkpoint(model)


def _embedding() -> bytes:
    """The architecture of community-1's embedding, random, with a tenth of its mel bands: the rest is time."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34

    torch.manual_seed(0)
    model = WeSpeakerResNet34(num_mel_bins=8)
    model.specifications = Specifications(Problem.REPRESENTATION, Resolution.CHUNK, duration=5.0)
    return _checkpoint(model)


def _arrays(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@dataclass(frozen=True)
class Published:
    """What a repository such as community-1 holds, and the hub that serves it."""

    hub: FakeHub
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def published() -> Iterator[Published]:
    """A repository in the shape of community-1, with random weights, gated on a hub."""
    generator = np.random.default_rng(0)
    files = {
        "config.yaml": CONFIG.encode(),
        "segmentation/pytorch_model.bin": _segmentation(),
        "embedding/pytorch_model.bin": _embedding(),
        "plda/xvec_transform.npz": _arrays(
            mean1=generator.normal(size=EMBEDDING_SIZE),
            mean2=generator.normal(size=LDA_SIZE),
            lda=generator.normal(size=(EMBEDDING_SIZE, LDA_SIZE)),
        ),
        "plda/plda.npz": _arrays(
            mu=generator.normal(size=LDA_SIZE),
            tr=np.linalg.qr(generator.normal(size=(LDA_SIZE, LDA_SIZE)))[0],
            psi=np.linspace(5.0, 0.1, LDA_SIZE),
        ),
    }
    served = {(DIARIZATION_REPOSITORY, REVISION, path): content for path, content in files.items()}
    weights = {(DIARIZATION_REPOSITORY, path) for path in files if path.endswith((".bin", ".npz"))}
    with FakeHub(served, gated={DIARIZATION_REPOSITORY}, tokens={TOKEN}, large=weights) as hub:
        yield Published(hub, files)


@pytest.fixture(scope="module")
def production(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle `production`, pulled from there."""
    models = tmp_path_factory.mktemp("models")
    sources = (sources_of(published.files, DIARIZATION_REPOSITORY, "diarization"),)
    pull_bundle(
        models,
        "production",
        lambda folder, say: build_from_hub(folder, say, "production", sources, published.hub.endpoint, TOKEN),
        lambda _text: None,
    )
    return open_bundle(models, "production")


@dataclass
class Connections:
    """Who was talked to, or looked up, while it was listening."""

    listening: bool = False
    targets: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def heard(self) -> Iterator[list[str]]:
        """The targets of the connections that are made inside the block, as they are made."""
        self.targets, self.listening = [], True
        try:
            yield self.targets
        finally:
            self.listening = False

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        """An audit hook; those cannot be removed, so that this one is switched off."""
        if self.listening and event in {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"}:
            self.targets.append(f"{event} {arguments[1:]}")


@pytest.fixture(scope="module")
def connections() -> Connections:
    """A listener to every connection that Python code of this process makes."""
    heard = Connections()
    sys.addaudithook(heard.hear)
    return heard


@pytest.fixture(scope="module")
def diarizer(production: Bundle, connections: Connections) -> Diarizer:
    """The diarizer of the bundle `production`; loading it must ask nobody for anything."""
    with connections.heard() as targets:
        loaded = load_diarizer(production, CPU, DiarizationSettings())
    assert [] == targets
    return loaded


def _noise(seconds: float) -> Track:
    """Bursts of noise."""
    generator = np.random.default_rng(1)
    sound = generator.normal(scale=0.1, size=int(16_000 * seconds)).astype(np.float32)
    bursts = generator.random(int(seconds * 10) + 1) > 0.4
    return track(sound * np.repeat(bursts, 1600)[: len(sound)])


def test_configuration_is_the_published_one() -> None:
    """The configuration of these tests is the one that `production` is pinned to; only the weights are others."""
    pinned = next(source for source in PRODUCTION_SOURCES if source.repository == DIARIZATION_REPOSITORY)
    assert pinned.files["config.yaml"] == hashlib.sha256(CONFIG.encode()).hexdigest()


def test_published_pipeline_is_put_together_as_its_configuration_says(production: Bundle, diarizer: Diarizer) -> None:
    """Models, clustering and parameters are those of the bundle's config.yaml, from the bundle's own folders."""
    from pyannote.audio.models.embedding import WeSpeakerResNet34
    from pyannote.audio.models.segmentation import PyanNet
    from pyannote.audio.pipelines.clustering import VBxClustering

    pipeline: Any = diarizer._pipeline
    assert "community-1" == production.manifest.diarization
    assert isinstance(pipeline._segmentation.model, PyanNet)
    assert pipeline._segmentation.model.specifications.powerset
    assert isinstance(pipeline._embedding.model_, WeSpeakerResNet34)
    assert isinstance(pipeline.clustering, VBxClustering)
    assert (EMBEDDING_SIZE, LDA_SIZE) == (pipeline._embedding.dimension, len(pipeline._plda.phi))
    assert yaml.safe_load(CONFIG)["params"] == pipeline.parameters(instantiated=True)
    assert (32, 32, True) == (
        pipeline.segmentation_batch_size,
        pipeline.embedding_batch_size,
        pipeline.embedding_exclude_overlap,
    )
    assert str(production.folder / "diarization") == str(pipeline.plda["checkpoint"])


@pytest.mark.long
def test_published_pipeline_diarizes(
    diarizer: Diarizer, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds of sound go through every model to turns that do not overlap, and no connection is made for them."""
    pipeline: Any = diarizer._pipeline
    transform, shapes = pipeline._plda._xvec_tf, list[tuple[int, ...]]()

    def transform_and_note(vectors: np.ndarray) -> np.ndarray:
        shapes.append(vectors.shape)
        return transform(vectors)

    monkeypatch.setattr(pipeline._plda, "_xvec_tf", transform_and_note)
    with connections.heard() as targets:
        turns = diarizer.diarize(_noise(10.0), speakers=2).exclusive
    assert [] == targets
    assert 1 == len(shapes), "too few voices to cluster: the random segmentation needs another seed"
    assert EMBEDDING_SIZE == shapes[0][1]
    assert len(turns) > 1
    assert list(turns) == sorted(turns, key=lambda turn: turn.start)
    assert all(turn.start < turn.end for turn in turns)
    assert all(one.end <= following.start for one, following in itertools.pairwise(turns))
    assert {True} == {re.fullmatch(r"SPEAKER_\d\d", turn.speaker) is not None for turn in turns}


def test_published_pipeline_gives_the_same_twice(diarizer: Diarizer) -> None:
    """The same sound has the same turns in every run."""
    sound = _noise(6.0)
    turns = diarizer.diarize(sound).exclusive
    assert turns
    assert turns == diarizer.diarize(sound).exclusive


@pytest.mark.parametrize("seconds", [0.3, 5.0])
def test_published_pipeline_takes_short_calls(diarizer: Diarizer, seconds: float) -> None:
    """A call that is as short as the models' window, or shorter, is no special case."""
    assert all(turn.start < turn.end for turn in diarizer.diarize(_noise(seconds)).turns)


def test_connections_are_heard(connections: Connections) -> None:
    """The listener hears a connection, so that its silence means something."""
    with connections.heard() as targets, socket.socket() as probe, contextlib.suppress(OSError):
        probe.connect(("127.0.0.1", 9))
    assert ["socket.connect (('127.0.0.1', 9),)"] == targets


def test_altered_weights_are_never_opened(production: Bundle, tmp_path: Path) -> None:
    """Weights of a published pipeline are pickles: one flipped byte, and the bundle is refused before they are read."""
    shutil.copytree(production.folder, tmp_path / "production")
    weights = tmp_path / "production/diarization/segmentation/pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(BundleError, match=r"holds an altered diarization/segmentation/pytorch_model\.bin"):
        load_models(ModelSettings(bundle="production", folder=tmp_path), RecognizerSettings(), DiarizationSettings())


def test_other_pipeline_is_refused(production: Bundle, tmp_path: Path) -> None:
    """A configuration that names another kind of pipeline is told as that."""
    shutil.copytree(production.folder / "diarization", tmp_path / "diarization")
    other = {
        "pipeline": {
            "name": "pyannote.audio.pipelines.VoiceActivityDetection",
            "params": {"segmentation": "$model/segmentation"},
        }
    }
    (tmp_path / "diarization/config.yaml").write_text(yaml.safe_dump(other))
    with pytest.raises(ValueError, match="does not hold a speaker diarization pipeline"):
        load_diarizer(Bundle(tmp_path, production.manifest), CPU, DiarizationSettings())


def test_loading_switches_metrics_off(production: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """After loading, the metrics of pyannote are off even where somebody switched them on."""
    from pyannote.audio.telemetry.metrics import is_metrics_enabled

    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "true")
    assert is_metrics_enabled()
    load_diarizer(production, CPU, DiarizationSettings())
    assert not is_metrics_enabled()
