"""The training loop of autoencoders, score networks and rates; it stops where a loss diverges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from tqdm import tqdm

from scoehr.checkpoints import Checkpoint, Row, facts_hash
from scoehr.files import InputError
from scoehr.minibatches import Data

Schedule = Literal["reported", "official", "cosine", "constant"]
Loss = Callable[[Tensor, torch.Generator], Tensor]  # (B, D) -> one value
Judge = Callable[[], Tensor]  # mean loss of validation patients, under the same noise each time


class Diverged(RuntimeError):
    """A loss left the sensible range; ``history`` holds the epochs until then."""

    def __init__(self, message: str, history: list[Row]):
        super().__init__(message)
        self.history = history


@dataclass(frozen=True)
class TrainingConfig:
    """All that decides a training, but the module, its loss and the data."""

    epochs: int
    batch: int = 64
    learning_rate: float = 1e-3  # of Adam; the report's and the paper's
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    shuffle: bool = True
    drop_last: bool = True  # the last incomplete batch, as reported
    epoch_fraction: float = 1.0  # of the batches, and of the validation patients (at least 256)
    clip: float | None = None  # norm of the gradient
    ema: float = 0.0  # decay a step of the averaged weights; 0 is no average
    patience: int | None = None  # epochs without a better one, after which the best is taken
    least_gain: float = 0.0  # share of the loss by which a later epoch is better, at least
    divergence_factor: float = 100.0  # times the untrained module's loss is divergence

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            choices = ", ".join(get_args(Schedule))
            raise InputError(f"schedule {self.schedule!r} is unknown; choose one of {choices}")
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be positive, not {self.learning_rate}")
        if not 0 < self.epoch_fraction <= 1:
            raise InputError(f"epoch_fraction must lie in (0, 1], not {self.epoch_fraction}")

    def learning_rates(self) -> list[float]:
        """Learning rate of each epoch."""
        factors = (
            learning_rate_factor(self.schedule, epoch, self.epochs) for epoch in range(self.epochs)
        )
        return [self.learning_rate * factor for factor in factors]


def learning_rate_factor(schedule: Schedule, epoch: int, epochs: int) -> float:
    """Multiplier of the learning rate in ``epoch`` (from 0) of ``epochs``.

    * ``reported``: 0.5 exp(-0.1 epoch), whatever the number of epochs: after 39 epochs 1 % is left,
      and a hundred epochs move the weights hardly more than fifty;
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


class _Store:
    """The checkpoints of a training, which a longer one with the same beginning continues.

    A file is named by the facts and the learning rates until then. So 75 epochs continue from 50 if
    their schedules agree so far.
    """

    def __init__(self, folder: Path | None, name: str, facts: list[Any], rates: list[float]):
        self.folder, self.name, self.rates = folder, name, rates
        self.facts = facts_hash(facts) if folder else ""  # of a large table it takes seconds
        first_change = (epoch for epoch, rate in enumerate(rates) if rate != rates[0])
        #: Epochs whose checkpoints stay: the last, and the end of a constant learning rate.
        self.lasting = {len(rates), next(first_change, len(rates))} - {1}
        self.partial: Path | None = None  # to be removed when the next is written

    def path(self, epochs: int, ending: str) -> Path:
        name = f"{self.name}-{facts_hash(self.facts, self.rates[:epochs])}.{ending}"
        return Path(self.folder or "") / name

    def read(self, state: Checkpoint) -> None:
        """Continue from the furthest checkpoint, if any."""
        found = self.folder is not None and any(self.folder.glob(f"{self.name}-*"))
        for epochs in range(len(self.rates), 0, -1) if found else ():
            for path in (self.path(epochs, "checkpoint"), self.path(epochs, "partial")):
                if path.exists():
                    self.partial = path if path.suffix == ".partial" else None
                    return state.read(path)

    def save(self, state: Checkpoint, every: float) -> None:
        """Write the state where it is due, and remove the one before unless it is to stay."""
        epochs = len(state.history)
        lasting = epochs in self.lasting
        path = self.path(epochs, "checkpoint" if lasting else "partial")
        before = state.saved
        state.save(path if self.folder else None, every, last=lasting)
        if state.saved == before:
            return
        if self.partial is not None:
            self.partial.unlink(missing_ok=True)
        self.partial = None if lasting else path


def train(
    module: nn.Module,
    loss: Loss,
    data: Data,
    config: TrainingConfig,
    *,
    seed: int,
    validation: Data | None = None,
    judge: Judge | None = None,
    about: dict[str, Any] | None = None,
    store: Path | None = None,
    name: str = "training",
    progress: bool = True,
    save_every: float = 10.0,
) -> list[Row]:
    """Train ``module`` in place on ``data`` ``(n, D)``; it ends with the averaged weights, if any.

    Args:
        loss: ``(batch, rng) -> one value``; every random number comes from ``rng``.
        validation: data ``(m, D)`` whose loss is recorded each epoch, under the same noise.
        judge: what chooses an epoch, with ``patience``: that whose averaged weights it finds best.
        about: settings of the loss that neither weights nor data show.
        store: folder of checkpoints, written after epochs at most every ``save_every`` seconds, and
            read by any training of the same ``name``, settings and data.

    Returns:
        A row an epoch: epoch, train_loss, validation_loss, learning_rate, seconds (chosen).

    Raises:
        Diverged: the loss is not finite, or ``divergence_factor`` times the untrained module's.
        InputError: fewer patients than a batch.
    """
    _check_size(len(data), config)
    if validation is not None:
        validation = validation[: max(256, round(config.epoch_fraction * len(validation)))]
    rates = config.learning_rates()
    settings = asdict(config)
    del settings["epochs"], settings["schedule"]  # what they decide are the learning rates
    facts = [settings, seed, data, validation, module, about]
    files = _Store(store, name, facts, rates)
    state = _begin(module, loss, data, config, seed)
    files.read(state)
    done = len(state.history)
    epochs = range(done, config.epochs)
    for epoch in tqdm(epochs, name, config.epochs, initial=done, disable=not progress or None):
        if _waited(state, config.patience):
            break
        start = time.perf_counter()
        row = {"epoch": epoch + 1, "train_loss": _epoch(state, loss, data, config, rates[epoch])}
        if judge and config.patience:
            row |= _choose(state, judge, config.least_gain)
        else:
            row["validation_loss"] = _mean_loss(module, loss, validation, config.batch, seed)
        row |= {"learning_rate": rates[epoch], "seconds": time.perf_counter() - start}
        state.history.append(row)
        _check_divergence(state, config.divergence_factor, name)
        files.save(state, save_every)
    _end(state)
    return state.history


def _end(state: Checkpoint) -> None:
    """The chosen weights, else the averaged ones, else the last."""
    if taken := state.chosen or state.kept:
        state.module.load_state_dict(taken)


def _check_size(n: int, config: TrainingConfig) -> None:
    if n < config.batch and config.drop_last:
        raise InputError(
            f"{n} patients do not fill one batch of {config.batch}; lower the batch size"
        )


def _choose(state: Checkpoint, judge: Judge, least_gain: float) -> Row:
    """Judge the averaged weights, and take them where they are better: entries of the row."""
    current = {key: value.clone() for key, value in state.module.state_dict().items()}
    averaged = state.kept or current
    state.module.load_state_dict(averaged)
    state.module.eval()
    with torch.no_grad():
        found = float(judge())
    state.module.load_state_dict(current)
    taken = [row["validation_loss"] for row in state.history if row["chosen"]]
    better = not taken or found < taken[-1] - least_gain * abs(taken[-1])
    if better:
        state.chosen = {key: value.clone() for key, value in averaged.items()}
    return {"validation_loss": found, "chosen": better}


def _waited(state: Checkpoint, patience: int | None) -> bool:
    """Whether so many epochs have passed without one that was chosen."""
    return (
        bool(patience)
        and len(state.history) >= (patience or 0)
        and not any(row.get("chosen", True) for row in state.history[-(patience or 1) :])
    )


def _begin(
    module: nn.Module, loss: Loss, data: Data, config: TrainingConfig, seed: int
) -> Checkpoint:
    """The state before the first epoch, with the loss of the untrained module."""
    adam = torch.optim.Adam(
        module.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    rng = torch.Generator().manual_seed(seed)
    initial = _mean_loss(module, loss, data[: config.batch], config.batch, seed)
    state = Checkpoint(module, {"adam": adam}, rng, numbers={"initial_loss": initial})
    if config.ema:
        state.keep()
    return state


def _epoch(
    state: Checkpoint, loss: Loss, data: Data, config: TrainingConfig, learning_rate: float
) -> float:
    """One pass over the data; mean loss of its batches."""
    adam = state.optimisers["adam"]
    adam.param_groups[0]["lr"] = learning_rate
    batches = _batches(len(data), config, state.rng)
    total = torch.zeros((), device=data.device)
    state.module.train()
    for rows in batches:
        adam.zero_grad()
        value = loss(data[rows.to(data.device)], state.rng)
        value.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(state.module.parameters(), config.clip)
        adam.step()
        total += value.detach()
        if state.kept:
            _average(state, config.ema)
    return float(total) / len(batches)


def _batches(n: int, config: TrainingConfig, rng: torch.Generator) -> list[Tensor]:
    """The rows of each batch of an epoch."""
    order = torch.randperm(n, generator=rng) if config.shuffle else torch.arange(n)
    batches = list(order.split(config.batch))
    if config.drop_last and len(batches[-1]) < config.batch:
        batches.pop()
    return batches[: max(1, round(config.epoch_fraction * len(batches)))]


def _average(state: Checkpoint, decay: float) -> None:
    """Average ← decay · average + (1 - decay) · weights; the memory is shorter in early steps."""
    moments = state.optimisers["adam"].state
    steps = int(next(iter(moments.values()))["step"])
    weight = 1 - min(decay, (1 + steps) / (10 + steps))
    for key, value in state.module.state_dict().items():
        state.kept[key].lerp_(value, weight)


@torch.no_grad()
def _mean_loss(module: nn.Module, loss: Loss, data: Data | None, batch: int, seed: int) -> float:
    """Mean loss over ``data``, under the same noise at every call."""
    if data is None or not len(data):
        return math.nan
    module.eval()
    rng = torch.Generator().manual_seed(seed + 1)
    parts = data.split(max(batch, 512))
    return sum(float(loss(part, rng)) * len(part) for part in parts) / len(data)


def _check_divergence(state: Checkpoint, factor: float, name: str) -> None:
    initial, last = state.numbers["initial_loss"], state.history[-1]["train_loss"]
    if not math.isfinite(initial):
        message = f"{name}: the loss is {initial} before training; give more patients"
    elif not math.isfinite(last) or last > factor * max(initial, 1e-8):
        message = (
            f"{name} diverged in epoch {len(state.history)}: loss {last:.4g} after {initial:.4g} "
            "at the start; lower the learning rate"
        )
    else:
        return
    raise Diverged(message, state.history)


def parameters(module: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in module.parameters())
