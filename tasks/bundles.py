"""Model bundles on disk: what is in one, how it is pulled, and how it is checked.

A bundle is a folder with the recogniser, the diarization models and a `manifest.json` that names every file with its
source, version, licence and SHA-256. Its digest is the SHA-256 over those lines, and is part of every transcript's
fingerprint. A bundle is checked whole before anything in it is opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tasks.errors import BundleError

MANIFEST = "manifest.json"
DiarizationKind = Literal["starter", "community-1"]


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of a bundle: path relative to the bundle, size, digest and where it comes from."""

    path: str
    bytes: int
    sha256: str
    source: str
    version: str
    licence: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle holds; `diarization` says how its diarization models are put together."""

    name: str
    diarization: DiarizationKind
    files: tuple[BundleFile, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted lines `<sha256>  <path>`, as `sha256sum` prints them."""
        lines = sorted(f"{file.sha256}  {file.path}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    def to_json(self) -> str:
        """Serialise, with the digest for people to compare."""
        return json.dumps({**asdict(self), "digest": self.digest}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Parse what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: the text is not a manifest.
        """
        data = json.loads(text)
        files = tuple(BundleFile(**file) for file in data["files"])
        manifest = cls(name=data["name"], diarization=data["diarization"], files=files)
        if manifest.digest != data["digest"]:
            message = "the digest does not match the list of files"
            raise ValueError(message)
        return manifest


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose every file was checked against its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """The bundle's digest."""
        return self.manifest.digest


Builder = Callable[[Path, Callable[[str], None]], Manifest]
"""Fills an empty folder with a bundle's files, telling what it does, and returns their manifest."""


def open_bundle(models_folder: Path, name: str) -> Bundle:
    """Check a bundle whole: every file there, nothing altered, nothing added.

    Raises:
        BundleError: the bundle was never pulled, differs from its manifest, or may not be read.
    """
    folder = models_folder / name
    try:
        manifest = _read_manifest(folder, name)
        _check_files(folder, manifest, name)
    except OSError as error:
        message = f"model bundle {name!r} in {folder} cannot be read by this user: {error}"
        raise BundleError(message) from error
    return Bundle(folder, manifest)


def pull_bundle(
    models_folder: Path, name: str, build: Builder, say: Callable[[str], None], *, anew: bool = False
) -> tuple[Bundle, bool]:
    """Make sure that a bundle is there and right, building it where it is not.

    The bundle appears under its name only when it is complete; two pulls at a time do each other no harm.

    Args:
        models_folder: where bundles lie.
        name: the bundle.
        build: how to build it.
        say: told what is being done.
        anew: build it also where it is there; the old one stays until the new one is complete.

    Returns:
        the checked bundle, and whether it had to be built.

    Raises:
        BundleError: it cannot be built or written, or what stands under its name is damaged.
    """
    try:
        if _stands(models_folder / name) and not anew:
            return open_bundle(models_folder, name), False
        models_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=models_folder, prefix=f".{name}-") as scratch:
            folder = Path(scratch) / name
            folder.mkdir()
            manifest = build(folder, say)
            (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            # Some libraries write files that only their owner may read; a model volume is read by others.
            for path in folder.rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)
            folder.chmod(0o755)
            if anew and (models_folder / name).exists():
                (models_folder / name).rename(Path(scratch) / "old")
            # An OSError here means that another pull was faster; what it left is checked below like any other.
            with contextlib.suppress(OSError):
                folder.rename(models_folder / name)
    except OSError as error:
        message = f"model bundle {name!r} cannot be written to {models_folder}: {error}"
        raise BundleError(message) from error
    return open_bundle(models_folder, name), True


def bundle_state(models_folder: Path, name: str) -> str:
    """One line about a bundle: not pulled, what is wrong with it, or its digest."""
    if not (models_folder / name).is_dir():
        return "not pulled"
    try:
        return f"ok, digest {open_bundle(models_folder, name).digest[:16]}"
    except BundleError as error:
        return error.message


def describe_file(folder: Path, path: str, *, source: str, version: str, licence: str) -> BundleFile:
    """The manifest's line for a file that lies in a bundle folder."""
    full = folder / path
    return BundleFile(path, full.stat().st_size, sha256_of(full), source, version, licence)


def require_digest(path: Path, sha256: str, what: str) -> None:
    """Refuse a downloaded file that is not byte for byte the pinned one.

    Raises:
        BundleError: the digests differ.
    """
    found = sha256_of(path)
    if found != sha256:
        message = f"{what} is not the file that is pinned: sha256 {found}, expected {sha256}; it was not opened"
        raise BundleError(message)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stands(folder: Path) -> bool:
    """Whether something is there; an empty folder is nothing."""
    return folder.is_dir() and any(folder.iterdir())


def _read_manifest(folder: Path, name: str) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        if _stands(folder):
            _refuse(folder, name, f"lacks {MANIFEST}")
        message = f"model bundle {name!r} is not in {folder.parent}; run `callscribe models pull {name}`"
        raise BundleError(message)
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        _refuse(folder, name, f"has a manifest that cannot be read ({error})")
        raise


def _check_files(folder: Path, manifest: Manifest, name: str) -> None:
    listed = {file.path for file in manifest.files} | {MANIFEST}
    strays = sorted(set(_relative_files(folder)) - listed)
    if strays:
        _refuse(folder, name, f"holds files that its manifest does not name: {', '.join(strays)}")
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            _refuse(folder, name, f"lacks {file.path}")
        if sha256_of(path) != file.sha256:
            _refuse(folder, name, f"holds an altered {file.path}")


def _refuse(folder: Path, name: str, reason: str) -> None:
    message = f"model bundle {name!r} in {folder} {reason}; run `callscribe models pull {name} --force`"
    raise BundleError(message)


def _relative_files(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
