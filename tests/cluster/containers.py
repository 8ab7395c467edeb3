"""What a container would find around it, made for a local process: volumes as folders, and its environment.

A local process sees the machine's file system, not the container's. So each mount path is replaced by the folder that
stands for the volume, wherever it begins a path in the command, the variables, the working folder and the probes.
"""

import base64
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .objects import Object
from .processes import MARKER
from .store import Store

_REFERENCE = re.compile(r"\$(\$|\((?P<name>[A-Za-z_][A-Za-z0-9_.-]*)\))")
_SUBSCRIPT = re.compile(r"^metadata\.(?P<field>labels|annotations)\['(?P<name>[^']+)'\]$")


class CannotStart(Exception):
    """The container cannot be made: `reason` is the kubelet's word, and the pod waits until that changes."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


@dataclass(frozen=True)
class Machine:
    """What every pod finds, whatever its manifest says.

    Args:
        folder: where the pods' folders are made.
        volumes: folders for what lies outside of pods: by the name of a persistent volume claim, or by the path of a
            hostPath volume.
        image_environment: what the image would bring: `PATH` (by default this Python's programs first), …
    """

    folder: Path
    volumes: Mapping[str, Path]
    image_environment: Mapping[str, str]


@dataclass(frozen=True)
class Container:
    """A container that can be started as a process."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    mounts: Mapping[str, Path]

    def replaced(self, words: Sequence[str]) -> list[str]:
        """A command of the container with the machine's paths."""
        return [replace_paths(word, self.mounts) for word in words]


def replace_paths(text: str, mounts: Mapping[str, Path]) -> str:
    """Put the machine's folders in the place of the container's mount paths.

    >>> replace_paths("find /models/a /scratch", {"/models": Path("/x"), "/scratch": Path("/y")})
    'find /x/a /y'
    >>> replace_paths("file:///home/scratch /models-old", {"/models": Path("/x"), "/scratch": Path("/y")})
    'file:///home/scratch /models-old'
    >>> replace_paths("file:///scratch/out s3://scratch/out", {"/scratch": Path("/y")})
    'file:///y/out s3://scratch/out'
    """
    if not mounts:
        return text
    longest_first = sorted(mounts, key=len, reverse=True)
    pattern = rf"(?<![\w.-])(?<!:/)(?:{'|'.join(map(re.escape, longest_first))})(?![\w.-])"
    return re.sub(pattern, lambda found: str(mounts[found[0]]), text)


def make_container(
    pod: Object, node: Object, gpu_environment: Mapping[str, str], machine: Machine, store: Store
) -> Container:
    """Make the folders, files and variables of a pod's container.

    Raises:
        CannotStart: a config map, secret or volume that it names is not there.
    """
    spec = pod["spec"]["containers"][0]
    folder = machine.folder / pod["metadata"]["name"]
    folder.mkdir(parents=True, exist_ok=True)
    mounts = _mounts(pod, folder, machine, store)
    # Tests and servers keep their own files under the machine's temporary folder, and their paths come in variables.
    temporary = Path(tempfile.gettempdir())
    replaced = {path: place for path, place in mounts.items() if not temporary.is_relative_to(path)}
    environment = _image_environment(machine, folder, mounts) | {"HOSTNAME": pod["metadata"]["name"]}
    for name, value in _variables(pod, spec, node, store).items():
        environment[name] = replace_paths(value, replaced)
    environment |= {**gpu_environment, MARKER: pod["metadata"]["uid"]}
    words = [_expanded(word, environment) for word in (*spec.get("command", []), *spec.get("args", []))]
    command = [replace_paths(word, replaced) for word in words]
    program = shutil.which(command[0], path=environment["PATH"]) if command else None
    working = replace_paths(spec.get("workingDir", ""), replaced)
    return Container(
        command=(program or "", *command[1:]),
        environment=environment,
        folder=Path(working) if working and Path(working).is_dir() else folder,
        log=folder / "log.txt",
        mounts=replaced,
    )


def _image_environment(machine: Machine, folder: Path, mounts: Mapping[str, Path]) -> dict[str, str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    programs = Path(sys.executable).parent
    plain = {"PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}", "HOME": str(home), "LANG": "C.UTF-8"}
    if "/tmp" in mounts:
        plain["TMPDIR"] = str(mounts["/tmp"])
    return plain | dict(machine.image_environment)


def _mounts(pod: Object, folder: Path, machine: Machine, store: Store) -> dict[str, Path]:
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
    mounts = {}
    for mount in pod["spec"]["containers"][0].get("volumeMounts", []):
        place = _volume(volumes[mount["name"]], pod, folder / "volumes", machine, store)
        if part := mount.get("subPath"):
            place /= part
            if not place.exists():
                place.mkdir(parents=True)
        mounts[mount["mountPath"].rstrip("/")] = place
    return mounts


def _volume(volume: Object, pod: Object, folder: Path, machine: Machine, store: Store) -> Path:
    own = folder / str(volume["name"])
    for given in (volume.get("persistentVolumeClaim", {}).get("claimName"), volume.get("hostPath", {}).get("path")):
        if given is not None:
            if given not in machine.volumes:
                raise CannotStart("ContainerCreating", f'MountVolume.SetUp failed for volume "{given}": not found')
            return machine.volumes[given]
    own.mkdir(parents=True, exist_ok=True)
    namespace = pod["metadata"]["namespace"]
    for source in volume.get("projected", {}).get("sources", [volume]):
        for plural, reference in (("configmaps", source.get("configMap")), ("secrets", source.get("secret"))):
            if reference is not None:
                name = reference.get("name") or reference["secretName"]
                for file, content in _data(
                    plural, namespace, name, store, optional=reference.get("optional", False)
                ).items():
                    (own / file).write_text(content)
    return own


def _variables(pod: Object, container: Object, node: Object, store: Store) -> dict[str, str]:
    namespace = pod["metadata"]["namespace"]
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        for plural, name in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if (reference := source.get(name)) is not None:
                data = _data(plural, namespace, reference["name"], store, optional=reference.get("optional", False))
                variables |= {source.get("prefix", "") + key: value for key, value in data.items()}
    for entry in container.get("env", []):
        if "valueFrom" not in entry:
            variables[entry["name"]] = _expanded(str(entry.get("value") or ""), variables)
        elif (value := _value_from(entry["valueFrom"], pod, node, store)) is not None:
            variables[entry["name"]] = value
    return variables


def _value_from(source: Object, pod: Object, node: Object, store: Store) -> str | None:
    if "fieldRef" in source:
        return _field(source["fieldRef"]["fieldPath"], pod, node)
    plural, name = ("configmaps", "configMapKeyRef") if "configMapKeyRef" in source else ("secrets", "secretKeyRef")
    reference = source[name]
    optional = reference.get("optional", False)
    data = _data(plural, pod["metadata"]["namespace"], reference["name"], store, optional=optional)
    if reference["key"] not in data:
        if optional:
            return None
        raise CannotStart("CreateContainerConfigError", f"couldn't find key {reference['key']} in {reference['name']}")
    return data[reference["key"]]


def _field(path: str, pod: Object, node: Object) -> str:
    meta = pod["metadata"]
    if found := _SUBSCRIPT.match(path):
        return str(meta.get(found["field"], {}).get(found["name"], ""))
    known: dict[str, str] = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": node["metadata"]["name"],
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
    }
    return known.get(path, "127.0.0.1")  # status.podIP, status.hostIP


def _data(plural: str, namespace: str, name: str, store: Store, *, optional: bool) -> dict[str, str]:
    found = store.find(plural, (namespace, name))
    if found is None:
        if optional:
            return {}
        kind = plural.removesuffix("s")
        raise CannotStart("CreateContainerConfigError", f'{kind} "{name}" not found')
    data: Mapping[str, str] = found.get("data") or {}
    if plural == "secrets":
        return {key: base64.b64decode(value).decode() for key, value in data.items()}
    return dict(data)


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it: an unknown name stays, `$$` is one dollar.

    >>> _expanded("$(A) $(B) $$(A)", {"A": "1"})
    '1 $(B) $(A)'
    """

    def value(found: re.Match[str]) -> str:
        name = found["name"]
        return "$" if name is None else variables.get(name, found[0])

    return _REFERENCE.sub(value, text)
