"""Training a network under a protocol: resumable, and with the state that the protocol says to
keep.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from companions.mortality_attack import evaluate
from companions.mortality_attack.models import Classifier
from companions.mortality_attack.peers import Peer
from companions.mortality_attack.protocol import Prepared, Protocol, Series
from scoehr.checkpoints import Checkpoint, facts_hash
from scoehr.generators.settings import Settings

Optimiser = Literal["adam", "rmsprop", "sgd"]
OPTIMISERS: dict[str, Any] = {
    "adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD,
}  # fmt: skip
#: Seconds between two checkpoints.
SAVE_EVERY = 15.0
Row = dict[str, float]


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """Everything that determines a training but network, data and seed.

    ``patience``: epochs without a lower validation loss after which training ends; ``looks``: how
    often, evenly over the epochs, stays are scored as reported and held out; ``adversarial``: how
    far, in units of models, each measured value may be moved against the model while it learns
    (projected gradient, Madry et al. 2018), 0 for plain training; ``hide``: share of the measured
    values that are left out anew at each step, so that models lean on no single one.
    """

    epochs: int = 40
    batch: int = 128
    learning_rate: float = 2e-3
    optimiser: Optimiser = "adam"
    weight_decay: float = 1e-4
    patience: int = 8
    looks: int = 0
    adversarial: float = 0.0
    hide: float = 0.0


@dataclass(frozen=True)
class SparseTraining(TrainingConfig):
    """Training against changes of at most ``cells`` measured cells of each stay, anywhere in [0,
    1].
    """

    cells: int = 8


@dataclass(frozen=True)
class TuningConfig(Settings):
    """A search of so many trials: each is trained for ``blocks`` times ``epochs`` epochs on every
    one of ``folds`` folds, and may be pruned after each block.
    """

    trials: int = 60
    folds: int = 5
    epochs: int = 5
    blocks: int = 10


def device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def tensors(
    series: Series, where: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """values, mask, static, died."""
    parts = (series.values, series.mask, series.static, series.died)
    return tuple(torch.as_tensor(part).to(where) for part in parts)  # type: ignore[return-value]


@torch.no_grad()
def predict(model: Classifier, series: Series, batch: int = 512) -> np.ndarray:
    """Logits ``(n, 2)`` in evaluation mode."""
    model.eval()
    where = next(model.parameters()).device
    values, mask, static, _ = tensors(series)
    parts = [
        model(values[rows].to(where), mask[rows].to(where), static[rows].to(where)).cpu()
        for rows in torch.arange(len(series)).split(batch)
    ]
    return torch.cat(parts).numpy() if parts else np.zeros((0, 2), np.float32)


def probability(model: nn.Module | Peer, series: Series) -> np.ndarray:
    """Probability of death ``(n,)``."""
    own: Callable[[Series], np.ndarray] | None = getattr(model, "probability", None)
    if own:
        return own(series)
    assert isinstance(model, Classifier)
    return torch.softmax(torch.as_tensor(predict(model, series)), -1)[:, 1].numpy().astype(float)


def verdicts(model: Classifier, series: Series) -> np.ndarray:
    """Whether the model calls death for each stay, bool ``(n,)``."""
    return model.margin(torch.as_tensor(predict(model, series))).numpy() >= 0


class Trainer:
    """A training that goes on by some epochs at a time, as tuning does to compare folds while they
    run.
    """

    def __init__(
        self, model: Classifier, data: Prepared, config: TrainingConfig, protocol: Protocol,
        seed: int = 0,
    ):  # fmt: skip
        self.data, self.config, self.protocol, self.seed = data, config, protocol, seed
        self.model, self.whole, self.done = model.to(device()), tensors(data.train, device()), 0
        self.optimiser: torch.optim.Optimizer = OPTIMISERS[config.optimiser](
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def epochs(self, number: int) -> Row:
        """Train on, and return the validation loss and AUROC after that."""
        for _ in range(number):
            self.epoch(self.done)
            self.done += 1
        return _held_out(self.model, self.data.validation)

    def epoch(self, number: int) -> float:
        """One pass over the data, or over as many draws of the balanced sampler; mean loss."""
        rng, model = np.random.default_rng([self.seed, number, 1]), self.model
        died = self.whole[3].cpu().numpy()
        balanced = self.protocol.balanced_training
        order = evaluate.balanced_draw(died, rng) if balanced else rng.permutation(len(died))
        model.train()
        total = 0.0
        with torch.random.fork_rng():
            torch.manual_seed(int(rng.integers(2**31)))
            for rows in torch.as_tensor(order).to(self.whole[0].device).split(self.config.batch):
                outcome = self.whole[3][rows]
                logits = model(*self._changed(rows))
                self.optimiser.zero_grad()
                loss = model.loss(logits, outcome)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                self.optimiser.step()
                total += loss.item() * len(rows)
        return total / len(order)

    def _changed(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """values, mask and static of a batch, with what the settings hide or move."""
        config, model = self.config, self.model
        values, mask, static, outcome = (part[rows] for part in self.whole)
        if config.hide:
            mask = mask & (torch.rand(mask.shape, device=mask.device) >= config.hide)
            values = values * mask
        if config.adversarial:
            values = worsened(model, values, mask, static, outcome, config.adversarial)
        if isinstance(config, SparseTraining):
            values = values + sparse_change(model, values, mask, static, outcome, config.cells)
        return values, mask, static


def train(
    model: Classifier,
    data: Prepared,
    config: TrainingConfig,
    protocol: Protocol,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    name: str = "training",
    progress: bool = True,
) -> list[Row]:
    """Train ``model`` in place, leave the state kept in it with its threshold, and return a row an
    epoch.

    ``checkpoint`` is written every few seconds, under a name that a hash of data, settings and
    untrained weights is added to, and read if it is there; a training that was killed ends with the
    same bits as one that was not. Rows hold epoch, train_loss, validation_loss, validation_auroc,
    learning_rate, seconds, and at each look the scores of :func:`look`.
    """
    going = Trainer(model, data, config, protocol, seed)
    state = Checkpoint(model, {"optimiser": going.optimiser}, numbers={"lowest": np.inf})
    if checkpoint:
        sets = [tensors(series) for series in (data.train, data.validation, data.test)]
        facts = facts_hash(sets, config, protocol, seed, model)
        checkpoint = checkpoint.with_stem(f"{checkpoint.stem}-{facts}")
    state.read(checkpoint)
    look_at = {round(share * config.epochs / config.looks) for share in range(1, config.looks + 1)}
    done = len(state.history)
    for epoch in tqdm(
        range(done, config.epochs), name, config.epochs, initial=done, disable=not progress or None
    ):
        if not protocol.fixed_epochs and _stale(state.history, config.patience):
            break
        start = time.perf_counter()
        row = {"epoch": epoch + 1.0, "train_loss": going.epoch(epoch)}
        row |= _held_out(model, data.validation) | {"learning_rate": config.learning_rate}
        if epoch + 1 in look_at:
            row |= look(model, data, seed)
        judged = (
            row.get("reported_loss", np.inf)
            if protocol.fixed_epochs and look_at
            else row["validation_loss"]
        )
        if judged < state.numbers["lowest"] or not state.kept:
            state.numbers["lowest"] = judged
            state.keep()
        state.history.append({**row, "seconds": time.perf_counter() - start})
        state.save(checkpoint, SAVE_EVERY)
    model.load_state_dict(state.kept)
    model.cpu().eval()
    if not protocol.scored_on_training:
        chosen = evaluate.best_threshold(probability(model, data.validation), data.validation.died)
        model.threshold.fill_(0.5 if protocol.balanced_training else chosen)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return state.history


def _stale(history: list[Row], patience: int) -> bool:
    losses = [row["validation_loss"] for row in history]
    return len(losses) > patience and min(losses[-patience:]) > min(losses[:-patience])


def worsened(
    model: Classifier,
    values: Tensor,
    mask: Tensor,
    static: Tensor,
    died: Tensor,
    radius: float,
    steps: int = 2,
) -> Tensor:
    """Values whose measured cells are moved by at most ``radius`` so that the loss rises (Madry et
    al. 2018).
    """
    change = torch.zeros_like(values)
    for _ in range(steps):
        change.requires_grad_()
        (slope,) = torch.autograd.grad(
            model.loss(model(values + change * mask, mask, static), died), change
        )
        change = (change.detach() + radius / steps * 1.5 * slope.sign()).clamp(-radius, radius)
    return values + change.detach() * mask


def sparse_change(
    model: Classifier, values: Tensor, mask: Tensor, static: Tensor, died: Tensor, cells: int,
    steps: int = 4,
) -> Tensor:  # fmt: skip
    """A change of at most so many measured cells within [0, 1], ``(B, 48, F)``, that raises the
    loss.
    """
    low, high = (values.clamp(max=0) - values) * mask, (values.clamp(min=1) - values) * mask
    change = torch.zeros_like(values)
    for step in range(steps):
        change.requires_grad_()
        (slope,) = torch.autograd.grad(
            model.loss(model(values + change, mask, static), died), change
        )
        steepest = slope.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
        moved = change.detach() + (1 - step / (2 * steps)) * slope / steepest
        change = nearest(moved, low, high, cells)
    return change


def nearest(change: Tensor, low: Tensor, high: Tensor, cells: int) -> Tensor:
    """The nearest change within bounds of at most so many cells of each stay."""
    within = torch.clamp(change, low, high)
    gain = change**2 - (change - within) ** 2
    return within * top(gain.masked_fill(within == 0, -1.0), cells)


def top(score: Tensor, count: int) -> Tensor:
    """Where the highest so many entries of each stay are, bool of the shape of ``score``."""
    flat = score.flatten(1)
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    return chosen.scatter(1, flat.topk(count, 1).indices, True).view_as(score)


def _held_out(model: Classifier, series: Series) -> Row:
    logits = torch.as_tensor(predict(model, series))
    loss = float(model.loss(logits, torch.as_tensor(series.died)))
    scored = evaluate.scores(torch.softmax(logits, -1)[:, 1].numpy(), series.died, 0.5)
    return {"validation_loss": loss, "validation_auroc": scored["auroc"]}


def look(model: Classifier, data: Prepared, seed: int) -> Row:
    """Scores at an epoch: as reported (training stays, balanced draw) and of held-out stays, at a
    probability of 0.5.

    Nothing is chosen by those of held-out stays.
    """
    drawn = data.train.take(
        evaluate.balanced_draw(data.train.died, np.random.default_rng([seed, 7]))
    )
    found: Row = {}
    for name, series in (("reported", drawn), ("test", data.test)):
        logits = torch.as_tensor(predict(model, series))
        found[f"{name}_loss"] = float(model.loss(logits, torch.as_tensor(series.died)))
        chance = torch.softmax(logits, -1)[:, 1].numpy().astype(float)
        found |= {
            f"{name}_{score}": value
            for score, value in evaluate.scores(chance, series.died, 0.5).items()
        }
    return found
