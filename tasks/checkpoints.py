"""Take the tensors out of a published checkpoint without running any code that it names."""

from __future__ import annotations

import pickle
import types
from pathlib import Path
from typing import Any


def load_tensors(path: Path) -> dict[str, Any]:
    """Load a checkpoint that also names classes of other libraries, keeping only what is a tensor."""
    import torch

    # torch wants a module, of which a zip checkpoint needs the Unpickler alone.
    safe_pickle = types.ModuleType("safe_pickle")
    safe_pickle.Unpickler = _TensorUnpickler  # type: ignore[attr-defined]  # a module made here has no stubs
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False, pickle_module=safe_pickle)
    return loaded


def load_plain(path: Path) -> dict[str, Any]:
    """Load a checkpoint that holds tensors and containers only, by torch's own restricted unpickler."""
    import torch

    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


class _Inert:
    """Stands in for every class of a pickle that is not a tensor: takes anything, does nothing."""

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...

    def __setitem__(self, _key: object, _value: object) -> None: ...

    def append(self, _item: object) -> None: ...

    def extend(self, _items: object) -> None: ...


class _TensorUnpickler(pickle.Unpickler):
    """Builds tensors and plain containers, and nothing else: no class of the pickle's choosing is ever called."""

    _allowed = frozenset(
        {("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch", "FloatStorage")}
    )

    def find_class(self, module: str, name: str) -> object:
        """Look up an allowed class; everything else becomes inert."""
        return super().find_class(module, name) if (module, name) in self._allowed else _Inert
