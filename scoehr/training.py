"""The training loop: one for autoencoder and score network, resumable to the bit, guarded against divergence."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from scoehr.files import InputError, replacing, warn
from scoehr.minibatches import Data, SparseRows

#: Part of every checkpoint's name: raise it when a network, a loss or a process computes something else than before.
CODE_VERSION = 1

Schedule = Literal["reported", "official", "cosine", "constant"]
Loss = Callable[[Tensor, torch.Generator], Tensor]  # (B, D) -> one value
Row = dict[str, float]


class Diverged(RuntimeError):
    """Training left the range of sensible losses; ``history`` holds the epochs until then."""

    def __init__(self, message: str, history: list[Row]):
        super().__init__(message)
        self.history = history


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines a training run, but the module, its loss and the data."""

    epochs: int
    batch: int = 64
    rate: float = 1e-3  # Adam; the report's and the paper's
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    shuffle: bool = True
    drop_last: bool = True  # the last incomplete batch is left out, as reported
    share: float = (
        1.0  # of the batches that an epoch takes, and of the validation patients (at least 256)
    )
    clip: float | None = None  # gradient norm
    ema: float = 0.0  # decay of the averaged weights per step; 0 is no average
    patience: float = 100.0  # a loss this many times the untrained module's is divergence

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise InputError(
                f"schedule {self.schedule!r} is unknown; choose one of {', '.join(get_args(Schedule))}"
            )
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.rate > 0:
            raise InputError(f"learning rate must be positive, not {self.rate}")
        if not 0 < self.share <= 1:
            raise InputError(f"the share of an epoch must lie in (0, 1], not {self.share}")

    def rates(self) -> list[float]:
        """Learning rate of each epoch."""
        return [
            self.rate * rate_factor(self.schedule, epoch, self.epochs)
            for epoch in range(self.epochs)
        ]


def rate_factor(schedule: Schedule, epoch: int, epochs: int) -> float:
    """Multiplier of the learning rate in ``epoch`` (from 0) of ``epochs``.

    * ``reported``: 0.5 exp(-0.1 epoch), whatever the number of epochs: 1 % of the rate is left after 39 epochs, and
      hundred epochs move the weights hardly more than fifty do;
    * ``official``: 1 for 20 epochs, then linear to nearly 0 (the paper's code);
    * ``cosine``: from 1 to 0 along half a cosine;
    * ``constant``: 1.
    """
    match schedule:
        case "reported":
            return 0.5 * math.exp(-0.1 * epoch)
        case "official":
            return max(0.0, 1 - max(0, epoch - 20) / max(1, epochs - 10))
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        case "constant":
            return 1.0


@dataclass
class _State:
    """What changes during training: enough to go on from a checkpoint as if nothing had happened."""

    module: nn.Module
    average: dict[str, Tensor]
    optimiser: torch.optim.Adam
    rng: torch.Generator
    initial: float  # loss of the untrained module
    history: list[Row] = field(default_factory=list)

    def write(self, path: Path) -> None:
        tensors = {
            f"weights/{key}": value.clone() for key, value in self.module.state_dict().items()
        }
        tensors |= {f"average/{key}": value.clone() for key, value in self.average.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{name}": value.clone() for name, value in moments.items()}
        tensors["rng"] = self.rng.get_state()
        with replacing(path) as scratch:
            save_file(
                tensors, scratch, {"progress": json.dumps([self.initial, self.history])} | threads()
            )

    def read(self, path: Path) -> None:
        """Take up a checkpoint."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                self.initial, self.history = json.loads(file.metadata()["progress"])
                check_threads(file.metadata())
        except (safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"{path}: not a readable checkpoint ({error}); delete it to train anew"
            ) from None
        part = {name: _below(tensors, name) for name in ("weights", "average", "adam")}
        self.module.load_state_dict(part["weights"])
        self.average = part["average"]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in part["adam"].items():
            index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self.rng.set_state(tensors["rng"])


def threads() -> dict[str, str]:
    """The number of threads, for the metadata of a checkpoint."""
    return {"threads": str(torch.get_num_threads())}


def check_threads(metadata: dict[str, str]) -> None:
    """Warn where a checkpoint was made under another number of threads: sums then round otherwise."""
    before, now = metadata.get("threads"), threads()["threads"]
    if before not in (None, now):
        warn(
            f"this training was begun with {before} thread(s) and goes on with {now}: it ends with other "
            f"bits than without an interruption; set OMP_NUM_THREADS={before} for the same"
        )


def _below(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(f"{name}/"): value
        for key, value in tensors.items()
        if key.startswith(f"{name}/")
    }


class _Store:
    """Checkpoints by what decides them, so that whoever trains the same thing goes on from the furthest one.

    The name of a file is made of the settings, every byte of the training and validation data, the untrained weights,
    :data:`CODE_VERSION` and the learning rates of the epochs done. So a run of 75 epochs goes on where one of 50 ended,
    if their schedules agree so far, and no run ever goes on from weights of other data.
    """

    def __init__(self, folder: Path | None, name: str, facts: list[Any], rates: list[float]):
        self.folder, self.name, self.rates = folder, name, rates
        self.facts = json.dumps(facts)
        turn = next((epoch for epoch, rate in enumerate(rates) if rate != rates[0]), len(rates))
        self.kept = {len(rates), turn} - {
            1
        }  # the end, and that of a constant rate, which longer trainings pass too
        self.last: Path | None = None  # what to remove when the next is written

    def path(self, epochs: int, ending: str = "checkpoint") -> Path:
        """Where the state after so many epochs lies: ``checkpoint`` to keep, ``partial`` until the next."""
        digest = hashlib.sha256(f"{self.facts} {self.rates[:epochs]}".encode()).hexdigest()[:16]
        return Path(self.folder or "") / f"{self.name}-{digest}.{ending}"

    def read(self, state: _State) -> None:
        """Take up the furthest state that is there, if any is."""
        kept = self.folder is not None and any(self.folder.glob(f"{self.name}-*"))
        for epochs in range(len(self.rates), 0, -1) if kept else ():
            for path in (self.path(epochs), self.path(epochs, "partial")):
                if path.exists():
                    self.last = path if path.suffix == ".partial" else None
                    return state.read(path)

    def write(self, state: _State) -> None:
        """Keep this state, in place of the last one unless that is one to keep."""
        if self.folder is None:
            return
        epochs = len(state.history)
        path = self.path(epochs, "checkpoint" if epochs in self.kept else "partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        state.write(path)
        if self.last is not None:
            self.last.unlink(missing_ok=True)
        self.last = path if path.suffix == ".partial" else None


def train(
    module: nn.Module,
    loss: Loss,
    data: Data,
    config: TrainingConfig,
    *,
    seed: int,
    validation: Data | None = None,
    about: dict[str, Any] | None = None,
    store: Path | None = None,
    name: str = "training",
    progress: bool = True,
    save_every: float = 10.0,
) -> list[Row]:
    """Train ``module`` in place on ``data`` ``(n, D)`` and leave the averaged weights in it, if there is an average.

    Args:
        loss: ``(batch, rng) -> scalar``; every random number comes from ``rng``.
        validation: data ``(m, D)`` whose loss is written down each epoch, under the same noise each time.
        about: settings of the loss that neither the module's weights nor the data show.
        store: folder of checkpoints, written at the end of an epoch at most every ``save_every`` seconds, and read by
            any training of the same ``name``, settings and data that passes there; a killed run ends with the same
            bits as one that was not, if both have the same number of threads.

    Returns:
        One row an epoch: epoch, train_loss, validation_loss, learning_rate, seconds.

    Raises:
        Diverged: the loss is not finite, or ``patience`` times that of the untrained module.
        InputError: fewer patients than a batch.
    """
    if len(data) < config.batch and config.drop_last:
        raise InputError(
            f"{len(data)} patients do not fill one batch of {config.batch}; lower the batch size"
        )
    optimiser = torch.optim.Adam(
        module.parameters(), lr=config.rate, weight_decay=config.weight_decay
    )
    average = (
        {key: value.clone() for key, value in module.state_dict().items()} if config.ema else {}
    )
    if validation is not None:
        validation = validation[: max(256, round(config.share * len(validation)))]
    initial = _mean_loss(module, loss, data[: config.batch], config.batch, seed)
    state = _State(module, average, optimiser, torch.Generator().manual_seed(seed), initial)
    rates = config.rates()
    facts = (
        _facts(module, data, validation, config, seed, about) if store else []
    )  # a large table takes seconds
    kept = _Store(store, name, facts, rates)
    kept.read(state)

    saved = time.monotonic()
    done = len(state.history)
    bar = tqdm(
        range(done, config.epochs), name, config.epochs, initial=done, disable=not progress or None
    )
    for epoch in bar:
        start = time.perf_counter()
        row = {"epoch": epoch + 1, "train_loss": _epoch(state, loss, data, config, rates[epoch])}
        row["validation_loss"] = _mean_loss(module, loss, validation, config.batch, seed)
        row |= {"learning_rate": rates[epoch], "seconds": time.perf_counter() - start}
        state.history.append(row)
        bar.set_postfix(loss=f"{row['train_loss']:.4g}")
        _guard(state, config.patience, name)
        if epoch + 1 in kept.kept or time.monotonic() - saved > save_every:
            kept.write(state)
            saved = time.monotonic()
    if state.average:
        module.load_state_dict(state.average)
    return state.history


def _facts(
    module: nn.Module,
    data: Data,
    validation: Data | None,
    config: TrainingConfig,
    seed: int,
    about: dict[str, Any] | None,
) -> list[Any]:
    """All that decides a training but the learning rates of its epochs."""
    settings = {
        key: value for key, value in asdict(config).items() if key not in ("epochs", "schedule")
    }
    held_out = validation is not None and digest(validation)
    weights = [digest(value) for value in module.state_dict().values()]
    return [
        CODE_VERSION,
        settings,
        seed,
        digest(data),
        held_out,
        weights,
        *([about] if about else []),
    ]


def _epoch(state: _State, loss: Loss, data: Data, config: TrainingConfig, rate: float) -> float:
    """One pass over the data; mean loss of its batches."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    order = (
        torch.randperm(len(data), generator=state.rng)
        if config.shuffle
        else torch.arange(len(data))
    )
    batches = [
        rows
        for rows in order.split(config.batch)
        if len(rows) == config.batch or not config.drop_last
    ]
    batches = batches[: max(1, round(config.share * len(batches)))]
    total = torch.zeros((), device=data.device)
    state.module.train()
    for rows in batches:
        state.optimiser.zero_grad()
        value = loss(data[rows.to(data.device)], state.rng)
        value.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(state.module.parameters(), config.clip)
        state.optimiser.step()
        total += value.detach()
        if state.average:
            _move_average(state, config.ema)
    return float(total) / len(batches)


def _move_average(state: _State, decay: float) -> None:
    """Average ← decay · average + (1 - decay) · weights, with a shorter memory while training is young."""
    steps = int(next(iter(state.optimiser.state.values()))["step"])
    weight = 1 - min(decay, (1 + steps) / (10 + steps))
    for key, value in state.module.state_dict().items():
        state.average[key].lerp_(value, weight)


@torch.no_grad()
def _mean_loss(module: nn.Module, loss: Loss, data: Data | None, batch: int, seed: int) -> float:
    """Mean loss over ``data``, under noise that is the same at every call."""
    if data is None or not len(data):
        return math.nan
    module.eval()
    rng = torch.Generator().manual_seed(seed + 1)
    parts = data.split(max(batch, 512))
    return sum(float(loss(part, rng)) * len(part) for part in parts) / len(data)


def _guard(state: _State, patience: float, name: str) -> None:
    last = state.history[-1]["train_loss"]
    if not math.isfinite(state.initial):
        raise Diverged(
            f"{name}: the loss is {state.initial} before training; give more patients",
            state.history,
        )
    if not math.isfinite(last) or last > patience * max(state.initial, 1e-8):
        raise Diverged(
            f"{name} diverged in epoch {len(state.history)}: loss {last:.4g} after {state.initial:.4g} at the start; "
            "lower the learning rate",
            state.history,
        )


def digest(data: Data) -> str:
    """SHA-256 of type, shape and every byte of a tensor; sparse rows have that of the equal dense tensor."""
    if isinstance(data, SparseRows):
        return data.digest()
    values = data.detach().cpu().contiguous()
    found = hashlib.sha256(f"{values.dtype} {list(values.shape)}".encode())
    found.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def parameters(module: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in module.parameters())
