"""What a model has to beat: predictors that need no network, a linear one, and RETAIN.

All give logits (n, targets) for patients, from their histories alone. *Copy-forward* repeats what
the last visit had, then what earlier ones had, then what is frequent; chronic codes make it strong.
*Recurrence rates* turn the same three states of a code into its own probabilities.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor, nn
from torch.nn import functional

from companions.dualk import rates
from companions.dualk.batches import Feed, dense, in_parts
from companions.dualk.cohorts import Records, Split
from companions.dualk.models import Batch
from companions.dualk.train import (
    Row,
    Stage,
    contents,
    cross_entropy,
    everything,
    fit,
    judged,
)
from scoehr.checkpoints import CODE_VERSION

TITLES = {
    "frequency": "most frequent codes",
    "copy-forward": "copy-forward",
    "recurrence": "recurrence rates",
    "logistic": "logistic regression",
    "retain": "RETAIN",
}


def frequency(feed: Feed, parts: Split, patients: np.ndarray) -> np.ndarray:
    """The share of training targets with each code, the same for everybody."""
    return np.tile(rates.overall(feed, parts.train), (len(patients), 1))


def copy_forward(feed: Feed, parts: Split, patients: np.ndarray) -> np.ndarray:
    """Codes of the last visit, then those of earlier ones, then the rest; each by frequency.

    The levels of the first two groups are their mean rates in training, so that the logits are of
    sensible size.
    """
    there, positive = (part.sum(axis=1) for part in rates.counts(feed, parts.train))
    level = special.logit((positive + 1) / (there + 2))
    state, common = rates.of(feed, patients), rates.overall(feed, parts.train)
    within = 0.1 * special.expit(common)  # orders a group, and never reaches the next
    top = level[1] - 0.2
    rest = top - np.logaddexp(0, top - common)  # below the other groups, in the order of frequency
    groups = [max(level[0], level[1] + 0.2) + within, level[1] + within]
    return np.select([state == 0, state == 1], groups, rest).astype(np.float32)


def recurrence(feed: Feed, parts: Split, patients: np.ndarray) -> np.ndarray:
    """Each code's own training rate: had the last visit, an earlier one or none the code?"""
    return np.take_along_axis(rates.table(feed, parts.train), rates.of(feed, patients), axis=0)


#: Those that need no training but counting.
PLAIN = {"frequency": frequency, "copy-forward": copy_forward, "recurrence": recurrence}


class Logistic(nn.Module):
    """One logistic regression a code on all codes of the last visit and of the history."""

    def __init__(self, targets: int):
        super().__init__()
        self.linear = nn.Linear(2 * targets, targets)
        nn.init.zeros_(self.linear.weight)

    def forward(self, batch: Batch) -> Tensor:
        return self.linear(torch.cat([batch.last, batch.ever], dim=1))


class Retain(nn.Module):
    """Two recurrences, last visit first, weigh visits and channels (Choi et al. 2016, NeurIPS)."""

    def __init__(self, targets: int, codes: int, width: int = 128, dropout: float = 0.3):
        super().__init__()
        self.embed = nn.Embedding(codes + 1, width, padding_idx=0)
        self.alpha = nn.GRU(width, width, batch_first=True)
        self.beta = nn.GRU(width, width, batch_first=True)
        self.visit, self.channel = nn.Linear(width, 1), nn.Linear(width, width)
        self.linear, self.dropout = nn.Linear(width, targets), nn.Dropout(dropout)
        nn.init.normal_(self.embed.weight, std=0.1)

    def forward(self, batch: Batch) -> Tensor:
        visits = functional.pad(self.embed(batch.codes).sum(dim=1), (0, 0, 1, 0))
        there = batch.visits > 0
        length = there.sum(dim=1, keepdim=True)
        back = (length - 1 - torch.arange(there.shape[1])).clamp(min=0)  # the last visit first
        values = self.dropout(functional.embedding(batch.visits, visits))
        turned = values.gather(1, back[..., None].expand_as(values))
        scores = self.visit(self.alpha(turned)[0])
        weight = scores.masked_fill(~there[..., None], -1e30).softmax(dim=1)
        context = weight * torch.tanh(self.channel(self.beta(turned)[0])) * turned
        return self.linear(self.dropout(context.sum(dim=1)))


def learn(
    module: Logistic | Retain,
    feed: Feed,
    parts: Split,
    *,
    epochs: int,
    rate: float,
    taught: Feed | None = None,
    batch: int = 64,
    **how: Any,
) -> list[Row]:
    """Train a network, which begins at the training rates; validation patients choose its epoch.

    It learns from training patients of ``feed``, or from all of ``taught``. ``how`` goes to
    :func:`companions.dualk.train.fit`.
    """
    module.linear.bias.data = torch.from_numpy(rates.overall(feed, parts.train))
    given, rows = feed, parts.train
    if taught is not None:
        given, rows = taught, np.arange(len(taught.records.patients))

    def loss(chosen: np.ndarray) -> Tensor:
        return cross_entropy(module(given.batch(chosen)), dense(given.answers(chosen)))

    stage = Stage(type(module).__name__, epochs, batch, lambda _: rate, keep="best")
    return fit(module, loss, rows, stage, partial(validated, module, feed, parts), **how)


def facts(records: Records, parts: Split) -> list[Any]:
    """What decides the training of a network besides its own settings."""
    return [CODE_VERSION, contents(*everything(records)), parts.train.tolist()]


@torch.no_grad()
def logits_of(module: nn.Module, feed: Feed, patients: np.ndarray) -> np.ndarray:
    """(n, targets) what a network that needs no graph says of patients."""
    return torch.cat([module(feed.batch(part)) for part in in_parts(patients, 512)]).numpy()


def validated(module: nn.Module, feed: Feed, parts: Split) -> Row:
    """The figures on validation patients, whose loss chooses the epoch."""
    held = parts.validation if len(parts.validation) else parts.train
    truth, logits = feed.answers(held).toarray() > 0, logits_of(module, feed, held)
    found = judged(logits, truth, "validation patients")
    return found | {"merit": -found["loss"]}


def all_of(
    records: Records,
    parts: Split,
    patients: np.ndarray,
    *,
    epochs: int,
    seed: int,
    store: Path | None,
    progress: bool,
) -> dict[str, np.ndarray]:
    """Logits of every baseline for ``patients``, from their histories alone."""
    feed = Feed(records)
    found = {name: predictor(feed, parts, patients) for name, predictor in PLAIN.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks: dict[str, Logistic | Retain] = {
            "logistic": Logistic(records.targets),
            "retain": Retain(records.targets, len(records.codes)),
        }
    how: dict[str, Any] = {
        "facts": facts(records, parts),
        "seed": seed,
        "store": store,
        "progress": progress,
    }
    for (name, module), rate in zip(networks.items(), (3e-3, 1e-3), strict=True):
        learn(module, feed, parts, epochs=epochs, rate=rate, **how)
        found[name] = logits_of(module, feed, patients)
    return found
