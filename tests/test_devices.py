"""The device gate: a device proves itself or the run stops; nothing falls back."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import files
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest

from tasks.devices import (
    CPU_BATCH,
    CUDA_LIBRARIES,
    OUT_OF_MEMORY,
    Device,
    DeviceLayer,
    Libraries,
    automatic_batch_size,
    automatic_loaders,
    chunk_bytes,
    compute_type_for,
    free_memory_bytes,
    is_out_of_memory,
    open_device,
    own_stream,
)
from tasks.errors import DeviceError
from tasks.host import Memory, host_memory, usable_cores, with_huge_pages

Answer = TypeVar("Answer")

CPU = Device("cpu", 0, "a CPU", "int8")
GPU = Device("cuda", 1, "a GPU", "float16")
MIB = 2**20
GIB = 2**30

AMPERE = frozenset("float32 float16 bfloat16 int8 int8_float32 int8_float16 int8_bfloat16".split())
TURING = frozenset(each for each in AMPERE if "bfloat16" not in each)
PASCAL = frozenset("float32 int8 int8_float32".split())


@dataclass
class Machine:
    """A device layer of a machine that is made up: two GPUs that work, unless told otherwise.

    An exception in the place of a figure is raised when the figure is asked for. `asked` is what was asked, in order.
    """

    torch_devices: int = 2
    ctranslate2_devices: int | Exception = 2
    types: Collection[str] | Exception = AMPERE
    missing: Collection[str] = ()
    broken: Collection[str] = ()
    product: float | Exception = 4096.0
    free: int = 20 * GIB
    asked: list[str] = field(default_factory=list)

    def torch_version(self) -> str:
        """One that was built for CUDA."""
        return "2.9.1+cu128"

    def torch_cuda_devices(self) -> int:
        """As set."""
        self.asked.append("torch")
        return self.torch_devices

    def ctranslate2_cuda_devices(self) -> int:
        """As set."""
        self.asked.append("ctranslate2")
        return said(self.ctranslate2_devices)

    def compute_types(self, kind: str, index: int) -> Collection[str]:
        """As set."""
        self.asked.append(f"types of {kind}:{index}")
        return said(self.types)

    def find_library(self, library: str) -> Path | None:
        """In a folder that is not there."""
        return None if library in self.missing else Path("/wheels") / library

    def load_library(self, path: Path) -> None:
        """Note that it was loaded, in order."""
        self.asked.append(path.name)
        if path.name in self.broken:
            message = f"{path}: file too short"
            raise OSError(message)

    def product_sum(self, kind: str, index: int) -> float:
        """As set."""
        self.asked.append(f"product on {kind}:{index}")
        return said(self.product)

    def name(self, kind: str, index: int) -> str:
        """A name with the device in it."""
        return f"made-up {kind} {index}"

    def driver(self, kind: str) -> str | None:
        """That of all GPUs."""
        return "580.159.04" if kind == "cuda" else None

    def memory(self, kind: str, index: int) -> Memory:
        """As set, of every device."""
        self.asked.append(f"memory of {kind}:{index}")
        return Memory(self.free, 24 * GIB)

    def stream(self, kind: str, index: int) -> Callable[[], AbstractContextManager[object]]:
        """One that notes when it is made, entered and left."""
        self.asked.append("a stream")

        @contextmanager
        def stream() -> Iterator[None]:
            self.asked.append(f"into a stream of {kind}:{index}")
            yield
            self.asked.append("out of it")

        return stream


def said(answer: Answer | Exception) -> Answer:
    """The answer, or raise it."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def refused(name: str, machine: Machine, compute_type: str = "default") -> str:
    """Why a device is refused."""
    with pytest.raises(DeviceError) as caught:
        open_device(name, compute_type, machine)
    assert 6 == caught.value.exit_code
    assert "\n" not in caught.value.message
    return caught.value.message


def python(program: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_work_beside_ctranslate2() -> None:
    """A stream of the device's own, left in the end; a CPU has none, and torch is not needed to know that."""
    machine = Machine()
    beside = own_stream(Device("cuda", 1, "a GPU", "float16"), machine)
    for _ in range(2):
        with beside():
            machine.asked.append("work")
    assert ["a stream", *["into a stream of cuda:1", "work", "out of it"] * 2] == machine.asked
    program = (
        "import sys\n"
        "from tasks.devices import Device, own_stream\n"
        "with own_stream(Device('cpu', 0, 'x', 'int8'))(): print('torch' in sys.modules)"
    )
    assert "False" == python(program)


# --------------------------------------------------------------------------------------------------- the gate


def test_a_gpu_proves_itself() -> None:
    """Libraries first, then what they say, then a product; the driver's name is kept."""
    machine = Machine()
    device = open_device("cuda:1", layer=machine)
    assert Device("cuda", 1, "made-up cuda 1", "float16", "580.159.04") == device
    assert [
        *(Path(library).name for library in CUDA_LIBRARIES),
        "torch",
        "ctranslate2",
        "types of cuda:1",
        "product on cuda:1",
    ] == machine.asked


def test_cuda_means_the_first() -> None:
    """`cuda` is `cuda:0`."""
    assert 0 == open_device("cuda", layer=Machine()).index


def test_a_cpu_is_not_asked_about_cuda() -> None:
    """On a CPU no CUDA library is looked for, loaded or asked."""
    machine = Machine(types=PASCAL)
    assert Device("cpu", 0, "made-up cpu 0", "int8") == open_device("cpu", layer=machine)
    assert ["types of cpu:0", "product on cpu:0"] == machine.asked


def test_no_gpu() -> None:
    """Asked for a GPU that is not there: one sentence with what was seen and what to check, and no fallback."""
    machine = Machine(torch_devices=0, ctranslate2_devices=0)
    message = refused("cuda", machine)
    assert message.startswith(
        "cuda:0 was asked for and cannot be used (torch 2.9.1+cu128 sees 0 CUDA devices, ctranslate2 0): check"
    )
    for hint in ("nvidia-smi", "525 or newer", "device plugin", "nvidia.com/gpu", "ask for cpu"):
        assert hint in message
    assert not [asked for asked in machine.asked if "cpu" in asked]


def test_a_driver_that_is_too_old() -> None:
    """CTranslate2's own words are kept."""
    error = RuntimeError("CUDA failed with error CUDA driver version is insufficient for CUDA runtime version")
    message = refused("cuda", Machine(torch_devices=0, ctranslate2_devices=error))
    assert f"sees 0 CUDA devices; ctranslate2 says: {error}, ctranslate2 0)" in message


@pytest.mark.parametrize(("by_torch", "by_ctranslate2"), [(2, 2), (1, 3), (3, 1), (0, 3), (3, 0)])
def test_an_index_out_of_range(by_torch: int, by_ctranslate2: int) -> None:
    """Both libraries must have the device."""
    machine = Machine(torch_devices=by_torch, ctranslate2_devices=by_ctranslate2)
    message = refused("cuda:2", machine)
    assert message.startswith("cuda:2 was asked for and cannot be used")
    assert f"sees {by_torch} CUDA devices, ctranslate2 {by_ctranslate2})" in message


@pytest.mark.parametrize("compute_type", sorted(AMPERE))
def test_compute_types_of_cuda(compute_type: str) -> None:
    """Any type that the device has is used as asked."""
    assert compute_type == open_device("cuda", compute_type, Machine()).compute_type


@pytest.mark.parametrize(
    ("types", "compute_type", "named"),
    [
        (TURING, "bfloat16", "float16, float32, int8, int8_float16, int8_float32"),
        (TURING, "int8_bfloat16", "float16, float32, int8, int8_float16, int8_float32"),
        (PASCAL, "float16", "float32, int8, int8_float32"),
        (PASCAL, "int8_float16", "float32, int8, int8_float32"),
    ],
)
def test_a_gpu_too_old_for_a_type(types: Collection[str], compute_type: str, named: str) -> None:
    """The setting, and what there is instead; nothing is converted silently."""
    expected = f"cuda cannot compute in {compute_type} (models.compute_type); it can in {named}"
    assert expected == refused("cuda", Machine(types=types), compute_type)


def test_a_gpu_too_old_for_the_default() -> None:
    """Float16 is cuda's default, and refused the same way."""
    assert "cuda cannot compute in float16" in refused("cuda", Machine(types=PASCAL))


@pytest.mark.parametrize("compute_type", ["float7", "", "INT8", "bfloat16 "])
def test_an_unknown_compute_type(compute_type: str) -> None:
    """A type that the device cannot compute in names the setting and what there is."""
    with pytest.raises(DeviceError, match=r"cpu cannot compute in .* \(models.compute_type\); it can in .*int8"):
        open_device("cpu", compute_type)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no kernel image is available for execution on the device"),
        ValueError("unsupported device cuda"),
    ],
)
@pytest.mark.parametrize("where", ["types", "product"])
def test_a_device_that_cannot_compute(where: str, error: Exception) -> None:
    """A device that is listed and fails when asked is refused, in the library's words."""
    machine = Machine(types=error) if where == "types" else Machine(product=error)
    assert f"cuda:1 is there and cannot compute: {error}" == refused("cuda:1", machine)


@pytest.mark.parametrize(("name", "called"), [("cpu", "cpu"), ("cuda", "cuda:0")])
def test_a_device_that_computes_wrongly(name: str, called: str) -> None:
    """A device whose product is wrong is refused, with what came out."""
    expected = f"{called} computes wrongly: a product that sums to 4096 came out as 16384.0"
    assert expected == refused(name, Machine(product=16384.0))


def test_a_product_that_is_no_number() -> None:
    """NaN is wrong too."""
    assert "came out as nan" in refused("cuda", Machine(product=float("nan")))


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("cpu", "default", "int8"),
        ("cuda", "default", "float16"),
        ("cuda:3", "default", "float16"),
        ("cpu", "float32", "float32"),
        ("cuda:1", "int8_float16", "int8_float16"),
    ],
)
def test_the_compute_type_of_a_device(name: str, asked: str, expected: str) -> None:
    """Known without touching the device, for fingerprints of machines that have none."""
    assert expected == compute_type_for(name, asked)


@pytest.mark.parametrize(
    ("device", "name"), [(Device("cpu", 0, "x", "int8"), "cpu"), (Device("cuda", 2, "x", "float16"), "cuda:2")]
)
def test_the_name_for_torch(device: Device, name: str) -> None:
    """How torch calls a device."""
    assert name == device.torch_name


@pytest.mark.parametrize(
    ("kind", "compute_type", "expected"),
    [
        ("cpu", "int8", 4),
        ("cpu", "float32", 4),
        ("cuda", "float32", 4),
        ("cuda", "int8_float32", 4),
        ("cuda", "float16", 2),
        ("cuda", "bfloat16", 2),
        ("cuda", "int8_bfloat16", 2),
        ("cuda", "int8", 2),
    ],
)
def test_the_bytes_of_a_float(kind: str, compute_type: str, expected: int) -> None:
    """What flows between the layers is of 4 bytes on a CPU, and as the type says on a GPU."""
    assert expected == Device(kind, 0, "x", compute_type).float_bytes


# ----------------------------------------------------------------------------------------- the real libraries


def cuda_devices() -> int:
    """How many CUDA devices CTranslate2 sees."""
    try:
        return Libraries().ctranslate2_cuda_devices()
    except RuntimeError:
        return 0


def test_the_cpu_proves_itself() -> None:
    """The CPU has its name, and computes in int8 unless told otherwise."""
    device = open_device("cpu")
    assert ("cpu", 0, "int8", "cpu") == (device.kind, device.index, device.compute_type, device.torch_name)
    assert device.name
    assert device.name == device.name.strip()
    assert "float32" == open_device("cpu", "float32").compute_type


def test_the_cpu_needs_no_torch() -> None:
    """Torch takes seconds to import, and the CPU is proved without."""
    program = "import sys; from tasks.devices import open_device; open_device('cpu'); print('torch' in sys.modules)"
    assert "False" == python(program)


def test_matrices_are_multiplied_in_one_thread() -> None:
    """By every BLAS that NumPy and SciPy bring, whatever the machine and its environment have."""
    program = (
        "import numpy, scipy.linalg; from threadpoolctl import threadpool_info;"
        "from tasks.host import one_blas_thread;"
        "one_blas_thread(); found = [x['num_threads'] for x in threadpool_info() if x['user_api'] == 'blas'];"
        "print(len(found) > 0, set(found))"
    )
    assert "True {1}" == python(program)


def test_loaders_of_a_device() -> None:
    """Beside a GPU cores are free."""
    assert (2, 4) == (automatic_loaders(CPU), automatic_loaders(GPU))


def test_the_libraries_are_a_device_layer() -> None:
    """What they say of a CPU and of CUDA devices has the right types, whatever this machine has."""
    layer: DeviceLayer = Libraries()
    assert {"int8", "float32"} <= set(layer.compute_types("cpu", 0))
    assert 4096.0 == layer.product_sum("cpu", 0)
    assert layer.torch_version().startswith("2.")
    assert layer.torch_cuda_devices() == cuda_devices()


@pytest.mark.parametrize("index", [0, 99])
def test_cuda_without_a_device(index: int) -> None:
    """The real libraries of a machine without this GPU say so in the same sentence."""
    if index < cuda_devices():
        pytest.skip("this machine has that CUDA device")
    with pytest.raises(DeviceError, match=rf"^cuda:{index} was asked for and cannot be used \(torch .* ctranslate2 \d"):
        open_device(f"cuda:{index}")


def test_cuda_with_a_device() -> None:
    """A GPU that is there proves itself, and has memory."""
    if not cuda_devices():
        pytest.skip("this machine has no CUDA device")
    device = open_device("cuda")
    memory = Libraries().memory(device.kind, device.index)
    assert device.name
    assert 0 < memory.free_bytes <= memory.total_bytes
    assert 1 <= automatic_batch_size(device, chunk_bytes(512, 6)) <= 64


# ------------------------------------------------------------------------------------------------- huge pages


@pytest.mark.parametrize(
    ("environment", "glibc", "expected"),
    [
        ({"A": "b"}, "glibc 2.36", {"A": "b", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
        ({"GLIBC_TUNABLES": "glibc.x=2"}, "glibc 2.35", {"GLIBC_TUNABLES": "glibc.x=2:glibc.malloc.hugetlb=1"}),
        ({"GLIBC_TUNABLES": ""}, "glibc 3.0", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc 2.36", None),
        ({}, "glibc 2.31", None),
        ({}, None, None),
    ],
)
def test_huge_pages_are_asked_for_once(
    environment: dict[str, str], glibc: str | None, expected: dict[str, str] | None
) -> None:
    """Where glibc can, and nobody has said anything of it yet; other tunables stay."""
    assert expected == with_huge_pages(environment, glibc)


# -------------------------------------------------------------------------------------------- CUDA's libraries


@pytest.mark.parametrize("missing", CUDA_LIBRARIES)
def test_what_is_missing_is_the_systems(missing: str) -> None:
    """A library that no wheel brought is left to the system's search path; the others are loaded."""
    machine = Machine(missing=[missing])
    open_device("cuda", layer=machine)
    expected = [Path(library).name for library in CUDA_LIBRARIES if library != missing]
    assert expected == [asked for asked in machine.asked if asked.startswith("lib")]


@pytest.mark.parametrize("library", [Path(library).name for library in CUDA_LIBRARIES])
def test_a_library_that_does_not_load(library: str) -> None:
    """A broken library is named before anything uses it."""
    machine = Machine(broken=[library])
    message = refused("cuda", machine)
    assert message.startswith(f"cannot load {library} for cuda: /wheels/")
    assert message.endswith("file too short")
    assert "torch" not in machine.asked


@pytest.fixture
def nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders where the package `nvidia` is found, both without libraries."""
    roots = tmp_path / "user" / "nvidia", tmp_path / "site" / "nvidia"
    spec = SimpleNamespace(submodule_search_locations=[str(root) for root in roots])
    monkeypatch.setattr(importlib.util, "find_spec", {"nvidia": spec}.get)
    return roots


def put(root: Path, library: str) -> Path:
    """An empty file with the name of a library."""
    (root / library).parent.mkdir(parents=True, exist_ok=True)
    (root / library).touch()
    return root / library


def test_the_first_folder_wins(nvidia: tuple[Path, Path]) -> None:
    """A library is found in any folder of the wheels, and taken from the first that has it."""
    library = CUDA_LIBRARIES[0]
    assert Libraries().find_library(library) is None
    second = put(nvidia[1], library)
    assert second == Libraries().find_library(library)
    first = put(nvidia[0], library)
    assert first == Libraries().find_library(library)


@pytest.mark.parametrize("spec", [None, SimpleNamespace(submodule_search_locations=None)])
def test_without_wheels_nothing_is_found(monkeypatch: pytest.MonkeyPatch, spec: SimpleNamespace | None) -> None:
    """No package `nvidia`, or an odd one: the system must have the libraries."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert [None] * len(CUDA_LIBRARIES) == [Libraries().find_library(library) for library in CUDA_LIBRARIES]


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    """What the loader of the system says of it."""
    with pytest.raises(OSError, match="file too short"):
        Libraries().load_library(put(tmp_path, "libcublas.so.12"))


def test_libraries_are_found_by_name_once_loaded() -> None:
    """As CTranslate2 opens them, in a process that has no torch; without a GPU they load too."""
    layer = Libraries()
    if any(layer.find_library(library) is None for library in CUDA_LIBRARIES):
        pytest.skip("NVIDIA's wheels are not installed here")
    program = """
import ctypes
from pathlib import Path
from tasks.devices import CUDA_LIBRARIES, Libraries
layer = Libraries()
for library in CUDA_LIBRARIES:
    layer.load_library(layer.find_library(library))
for library in CUDA_LIBRARIES:
    ctypes.CDLL(Path(library).name)
print("found")
"""
    assert "found" == python(program)


def test_what_ctranslate2_opens() -> None:
    """The pinned wheel names cuBLAS and no cuDNN: what a new one names besides must come into `CUDA_LIBRARIES`."""
    (library,) = (path for path in files("ctranslate2") or () if path.name.startswith("libctranslate2"))
    content = Path(str(library.locate())).read_bytes()
    if b"libcublas.so" not in content:
        pytest.skip("this wheel of ctranslate2 is built without CUDA")
    assert b"libcublas.so.12\0" in content
    others = "libcudnn libcudart.so libcufft libcurand libcusparse libcusolver libnvrtc libnvJitLink libcublasLt"
    assert [] == [name for name in others.split() if name.encode() in content]


# -------------------------------------------------------------------------------------------- memory and batches


def machine_files(root: Path, groups: str = "") -> Path:
    """A root with 8 GiB of memory, half of it free, and a list of control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal: {8 * MIB} kB\nMemFree: 12 kB\nMemAvailable: {4 * MIB} kB\nHugePages_Free: 0\n"
    )
    (root / "proc/self/cgroup").write_text(groups)
    return root


def group_files(root: Path, folder: str, limit: int | str, used: int, reclaimable: int = 0) -> None:
    """The files of one control group, of version 1 below `memory/`, else of version 2."""
    first = folder.startswith("memory")
    path = root / "sys/fs/cgroup" / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / ("memory.limit_in_bytes" if first else "memory.max")).write_text(f"{limit}\n")
    (path / ("memory.usage_in_bytes" if first else "memory.current")).write_text(f"{used}\n")
    name = "total_inactive_file" if first else "inactive_file"
    (path / "memory.stat").write_text(f"anon 5\ninactive_file {7 if first else reclaimable}\n{name} {reclaimable}\n")


def test_the_memory_of_a_machine(tmp_path: Path) -> None:
    """What Linux can give without swapping, not what is empty."""
    assert Memory(4 * GIB, 8 * GIB) == host_memory(machine_files(tmp_path))


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    """No list of groups: the machine's memory."""
    (machine_files(tmp_path) / "proc/self/cgroup").unlink()
    assert Memory(4 * GIB, 8 * GIB) == host_memory(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("limit", "used", "reclaimable", "expected"),
    [
        (2 * GIB, GIB, 0, Memory(GIB, 2 * GIB)),
        (2 * GIB, 2 * GIB, GIB, Memory(GIB, 2 * GIB)),
        (2 * GIB, 2 * GIB + 4096, 0, Memory(0, 2 * GIB)),
        (64 * GIB, 0, 0, Memory(4 * GIB, 8 * GIB)),
        (9223372036854771712, GIB, 0, Memory(4 * GIB, 8 * GIB)),
    ],
)
def test_a_limit(tmp_path: Path, version: int, limit: int, used: int, reclaimable: int, expected: Memory) -> None:
    """The limit of a container less what it uses; files that nobody reads are free; the machine has the last word."""
    line, folder = ("4:cpu,memory:/pod/call\n", "memory/pod/call") if version == 1 else ("0::/pod/call\n", "pod/call")
    machine_files(tmp_path, f"9:name=systemd:/\n{line}")
    group_files(tmp_path, folder, limit, used, reclaimable)
    assert expected == host_memory(tmp_path)


def test_no_limit(tmp_path: Path) -> None:
    """A group of version 2 says `max`."""
    machine_files(tmp_path, "0::/pod\n")
    group_files(tmp_path, "pod", "max", GIB)
    assert Memory(4 * GIB, 8 * GIB) == host_memory(tmp_path)


def test_a_limit_further_up(tmp_path: Path) -> None:
    """A pod's limit holds for its containers; the tightest of all counts."""
    machine_files(tmp_path, "0::/pod/container\n")
    group_files(tmp_path, "pod/container", 3 * GIB, 0)
    group_files(tmp_path, "pod", 2 * GIB, GIB // 2)
    group_files(tmp_path, "another", GIB // 4, 0)
    assert Memory(3 * GIB // 2, 2 * GIB) == host_memory(tmp_path)


@pytest.mark.parametrize(("line", "folder"), [("7:memory:/docker/4f1e\n", "memory"), ("0::/../4f1e\n", "")])
def test_a_group_seen_from_inside(tmp_path: Path, line: str, folder: str) -> None:
    """In a container the path may be the host's, which is not there: the topmost group is its own."""
    machine_files(tmp_path, line)
    group_files(tmp_path, folder, GIB, 0)
    assert Memory(GIB, GIB) == host_memory(tmp_path)


def test_free_memory_of_this_machine() -> None:
    """Some, and less than there is."""
    memory = Libraries().memory("cpu", 0)
    assert 0 < memory.free_bytes < memory.total_bytes
    assert free_memory_bytes(CPU) > 0


def test_free_memory_of_a_gpu() -> None:
    """The device that is asked for is asked."""
    machine = Machine(free=5 * GIB)
    assert 5 * GIB == free_memory_bytes(GPU, machine)
    assert ["memory of cuda:1"] == machine.asked


@pytest.mark.parametrize(
    ("fitting", "expected"),
    [(0.5, 1), (1.9, 1), (2, 2), (7.9, 7), (8, 8), (15.9, 8), (16, 16), (63, 56), (64, 64), (1000, 64)],
)
def test_batch_sizes_of_a_gpu(fitting: float, expected: int) -> None:
    """What fits into 60 % of what is free: a multiple of 8 from 8 on, and never none or more than 64."""
    machine = Machine(free=int(fitting * 100 * MIB / 0.6) + 1)
    assert expected == automatic_batch_size(GPU, 100 * MIB, machine)


def test_a_full_gpu_still_gets_one() -> None:
    """Whether one fits shows when it is tried."""
    assert 1 == automatic_batch_size(GPU, 100 * MIB, Machine(free=0))


def test_the_batch_size_of_a_cpu() -> None:
    """A constant: nothing is asked."""
    machine = Machine(free=0)
    assert CPU_BATCH == automatic_batch_size(CPU, 100 * MIB, machine)
    assert [] == machine.asked


@pytest.mark.parametrize(
    ("dimension", "layers", "least", "most"),
    [
        (512, 6, 100 * MIB, 250 * MIB),  # base
        (1280, 32, 900 * MIB, 1500 * MIB),  # large-v3
        (1280, 4, 300 * MIB, 600 * MIB),  # large-v3-turbo
    ],
)
def test_the_bytes_of_a_chunk(dimension: int, layers: int, least: int, most: int) -> None:
    """Plausible for the models that are used."""
    assert least < chunk_bytes(dimension, layers) < most


def test_a_chunk_of_base_by_hand() -> None:
    """Each term once: activations, scores, both kinds of caches, logits; and a half more."""
    activations = 1500 * 10 * 512 * 2
    scores = 2 * 8 * 1500 * 1500 * 2
    cross = 6 * 2 * 1500 * 512 * 2
    own = 6 * 2 * 448 * 512 * 2 * 5
    logits = 5 * 51_865 * 4
    assert (activations + scores + cross + own + logits) * 3 // 2 == chunk_bytes(512, 6)


def test_what_makes_a_chunk_larger() -> None:
    """Beams, layers, wider floats and more tokens."""
    base = chunk_bytes(512, 6)
    assert base > chunk_bytes(512, 6, beam_size=1)
    assert base < chunk_bytes(512, 7)
    assert base < chunk_bytes(512, 6, vocabulary=51_866)
    assert 1.9 < chunk_bytes(512, 6, float_bytes=4) / base < 2


class OutOfMemoryError(RuntimeError):
    """Of another library, for another memory."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("std::bad_alloc"),
        *(RuntimeError(f"{sign} (at alloc.cc:124)") for sign in OUT_OF_MEMORY),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("radix_sort: failed on 1st step: cudaErrorMemoryAllocation: out of memory"),
    ],
    ids=repr,
)
def test_out_of_memory(error: BaseException) -> None:
    """What the libraries say when memory is short."""
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA failed with error an illegal memory access was encountered"),
        RuntimeError("CUDA failed with error unspecified launch failure"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_NOT_INITIALIZED"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA failed with error CUDA driver version is insufficient for CUDA runtime version"),
        RuntimeError("this text tells of a man who ran out of memory"),
        RuntimeError(""),
        OutOfMemoryError("of something else"),
        ValueError("CUDA out of memory"),
        OSError(12, "Cannot allocate memory"),
        DeviceError("a GPU cannot run the models: CUDA out of memory"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors(error: BaseException) -> None:
    """Anything else is not taken for it: a smaller batch would not help."""
    assert not is_out_of_memory(error)


def test_torchs_own_error() -> None:
    """Known by its class, whatever its message."""
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("HIP has none left"))


def test_torch_on_a_cpu_without_memory() -> None:
    """The real error of an allocation that no machine can make."""
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46)
    assert is_out_of_memory(caught.value)


# -------------------------------------------------------------------------------------------------------- cores


@pytest.mark.parametrize("cores", [1, 3, 16])
def test_usable_cores(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    """As many as this process may use, not as many as the machine has."""
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert cores == usable_cores()
