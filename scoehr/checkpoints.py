"""Checkpoints: an interrupted training ends with the same bits as one that was not.

A checkpoint's file is named by :func:`facts_hash` of all that decides the training: data, settings,
seed, untrained weights and the version of the code. So none is continued on other data.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scoehr.files import InputError, replacing, warn
from scoehr.minibatches import Data, SparseRows

#: Part of every hash: raise it when a network, a loss or a process computes something else.
CODE_VERSION = 1

Row = dict[str, Any]


@dataclass
class Checkpoint:
    """All that changes during a training."""

    module: nn.Module
    optimisers: Mapping[str, torch.optim.Optimizer]  # by a name without a slash
    rng: torch.Generator = field(default_factory=torch.Generator)
    kept: dict[str, Tensor] = field(default_factory=dict)  # averaged or best weights
    chosen: dict[str, Tensor] = field(default_factory=dict)  # weights of the best epoch
    numbers: dict[str, float] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)  # a row an epoch

    def __post_init__(self) -> None:
        self.saved = time.monotonic()

    def keep(self) -> None:
        """Copy the module's weights to ``kept``."""
        self.kept = {key: value.clone() for key, value in self.module.state_dict().items()}

    def save(self, path: Path | None, every: float, *, last: bool = False) -> None:
        """Write a file, if there is a path, after ``every`` seconds at the earliest or at last."""
        if path is not None and (last or time.monotonic() - self.saved > every):
            self.write(path)
            self.saved = time.monotonic()

    def write(self, path: Path) -> None:
        """Write a safetensors file, all or nothing."""
        tensors = {f"module/{key}": value for key, value in self.module.state_dict().items()}
        tensors |= {f"kept/{key}": value for key, value in self.kept.items()}
        tensors |= {f"chosen/{key}": value for key, value in self.chosen.items()}
        for name, optimiser in self.optimisers.items():
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}/{index}/{key}": value for key, value in state.items()}
        tensors["rng"] = self.rng.get_state()
        copies = {key: torch.as_tensor(value).clone() for key, value in tensors.items()}
        progress = json.dumps([self.numbers, self.history])
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as scratch:
            save_file(copies, scratch, {"progress": progress, "threads": _threads()})

    def read(self, path: Path | None) -> None:
        """Continue from a file, if there is one.

        :class:`InputError` if it is damaged; a warning if it was made under other threads.
        """
        if path is None or not path.exists():
            return
        try:
            with safetensors.safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                self.numbers, self.history = json.loads(file.metadata()["progress"])
                _check_threads(file.metadata()["threads"])
        except (safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"{path}: not a readable checkpoint ({error}); delete it to start again"
            ) from None
        self.module.load_state_dict(_below(tensors, "module"))
        self.kept, self.chosen = _below(tensors, "kept"), _below(tensors, "chosen")
        self.rng.set_state(tensors["rng"])
        for name, optimiser in self.optimisers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for key, value in _below(tensors, name).items():
                index, part = key.split("/")
                states.setdefault(int(index), {})[part] = value
            optimiser.load_state_dict({**optimiser.state_dict(), "state": states})


def _below(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    start = f"{name}/"
    return {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}


def _threads() -> str:
    return str(torch.get_num_threads())


def _check_threads(before: str) -> None:
    """Warn if sums are now rounded otherwise."""
    if before != _threads():
        warn(
            f"this training began with {before} thread(s) and continues with {_threads()}: its "
            f"bits are not those without interruption; set OMP_NUM_THREADS={before} for the same"
        )


def facts_hash(*facts: Any) -> str:
    """Sixteen hexadecimal digits of the code's version and of plain values, data and modules."""
    text = json.dumps([CODE_VERSION, *facts], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return [[name, digest(tensor)] for name, tensor in value.state_dict().items()]
    if isinstance(value, Tensor | SparseRows):
        return digest(value)
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def digest(data: Data) -> str:
    """SHA-256 of type, shape and bytes of a tensor; sparse rows have that of the dense tensor."""
    if isinstance(data, SparseRows):
        return data.digest()
    values = data.detach().cpu().contiguous()
    found = hashlib.sha256(f"{values.dtype} {list(values.shape)}".encode())
    found.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
