"""A stronger predictor than the study's: rates of recurrence, moved by a small network.

A code's logit starts as its own rate of recurrence, given whether the last visit, an earlier one or
none had it (:func:`companions.dualk.rates.table`). A network of one hidden layer adds to it what
the codes of the last visit, those of the whole history and the laboratory results of the visit
before tell. Its logits are averaged with those of RETAIN
(:class:`companions.dualk.baselines.Retain`).

Two things let few patients teach many codes. Every visit after a patient's first is an answer in
training (:func:`prefixes`), not the last alone. And the network first learns which codes go
together, by restoring codes hidden from single visits of pre-training patients (masked
pre-training; Devlin, Chang, Lee & Toutanova 2019, NAACL): new codes are known from others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from companions.dualk import baselines, rates
from companions.dualk.baselines import Retain, validated
from companions.dualk.batches import Feed, dense
from companions.dualk.cohorts import Records, Split
from companions.dualk.graph import visits_of
from companions.dualk.models import Batch, recurrence
from companions.dualk.train import Row, Stage, cross_entropy, fit


@dataclass(frozen=True)
class HistoryConfig:
    """Width, dropout and training of the network."""

    width: int = 256
    dropout: float = 0.3
    pretraining_epochs: int = 3
    epochs: int = 8
    batch: int = 128
    learning_rate: float = 2e-3
    decay: float = 0.3  # decoupled weight decay
    retain_epochs: int = 10
    retain_rate: float = 1e-3


class HistoryNet(nn.Module):
    """Rates of recurrence (3, targets) plus a network of one hidden layer, which starts at zero."""

    rates: Tensor

    def __init__(self, targets: int, items: int, config: HistoryConfig):
        super().__init__()
        self.register_buffer("rates", torch.zeros(rates.STATES, targets))
        self.shift = nn.Parameter(torch.zeros(rates.STATES, targets))
        self.inputs = nn.Linear(2 * targets + items + 2, config.width)
        self.linear = nn.Linear(config.width, targets)
        self.dropout = nn.Dropout(config.dropout)
        self.hide = nn.Dropout(0.1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, batch: Batch) -> Tensor:
        """(B, targets) logits of the codes of the next visit."""
        visits = (batch.visits > 0).sum(dim=1, keepdim=True).float().log()
        codes = batch.last.sum(dim=1, keepdim=True) / 10
        seen = [self.hide(batch.last), self.hide(batch.ever), batch.labs, visits, codes]
        hidden = functional.relu(self.inputs(torch.cat(seen, dim=1)))
        return recurrence(self.rates + self.shift, batch) + self.linear(self.dropout(hidden))


class Mean(nn.Module):
    """The mean of the logits of networks that err differently."""

    def __init__(self, *members: nn.Module):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batch: Batch) -> Tensor:
        """(B, targets) logits of the codes of the next visit."""
        return torch.stack([member(batch) for member in self.members]).mean(dim=0)


def prefixes(records: Records, patients: np.ndarray) -> Records:
    """Records in which every visit after a patient's first is once the last, each a patient."""
    number = records.visits[patients] - 1
    owner = np.repeat(patients, number)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(number) - number, number)
    length = step + 2
    first = np.append(0, np.cumsum(length))
    within = np.arange(first[-1]) - np.repeat(first[:-1], length)
    rows = within + np.repeat(records.first[owner], length)
    return replace(
        records,
        patients=np.arange(len(owner)),
        first=first,
        days=records.days[rows],
        visit_codes=records.visit_codes[rows],
        labs=records.labs[rows],
        first_day=records.first_day[rows],
    )


def pretrain(
    net: HistoryNet, feed: Feed, parts: Split, config: HistoryConfig, **how: Any
) -> list[Row]:
    """Restore hidden codes of visits of pre-training patients; each visit hides its own share."""
    net.rates[:] = torch.from_numpy(rates.overall(feed, parts.train))
    visits = feed.present[visits_of(feed.records, parts.pretrain)]
    visits = visits[np.asarray(visits.sum(axis=1)).ravel() > 1]

    def loss(rows: np.ndarray) -> Tensor:
        whole = dense(visits[rows])
        shown = whole * (torch.rand_like(whole) < torch.rand(len(rows), 1))
        one, none = torch.ones(len(rows), 1), torch.zeros(len(rows), len(feed.records.items))
        batch = Batch(one.long(), one.long(), 0 * one, none, shown, shown)
        each = functional.binary_cross_entropy_with_logits(net(batch), whole, reduction="none")
        return (each * (1 - shown)).mean()

    epochs, rate = config.pretraining_epochs, config.learning_rate
    stage = Stage("masked codes", epochs, 256, lambda _: rate, decay=0.1)
    score = partial(validated, net, feed, parts)
    return fit(net, loss, np.arange(visits.shape[0]), stage, score, **how)


def learn(
    records: Records,
    parts: Split,
    config: HistoryConfig,
    *,
    seed: int,
    store: Path | None,
    progress: bool,
) -> tuple[Mean, Feed, list[Row]]:
    """The trained network, the feed of its inputs and the history of its stages."""
    feed = Feed(records, labs="previous visit" if records.has_labs else "none")
    taught = Feed(prefixes(records, parts.train), labs=feed.labs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = HistoryNet(records.targets, len(records.items), config)
        retain = Retain(records.targets, len(records.codes))
    facts = [*baselines.facts(records, parts), str(config)]
    how: dict[str, Any] = {"facts": facts, "seed": seed, "store": store, "progress": progress}
    rows = pretrain(net, feed, parts, config, **how)
    rows += tune(net, feed, taught, parts, config, **how)
    epochs, rate = config.retain_epochs, config.retain_rate
    rows += baselines.learn(retain, feed, parts, epochs=epochs, rate=rate, taught=taught, **how)
    return Mean(net, retain), feed, rows


def tune(
    net: HistoryNet, feed: Feed, taught: Feed, parts: Split, config: HistoryConfig, **how: Any
) -> list[Row]:
    """Learn from every history of training patients, from the rates of recurrence on."""
    net.rates[:] = torch.from_numpy(rates.table(feed, parts.train))

    def loss(chosen: np.ndarray) -> Tensor:
        return cross_entropy(net(taught.batch(chosen)), dense(taught.answers(chosen)))

    def falling(epoch: int) -> float:
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))

    stage = Stage("histories", config.epochs, config.batch, falling, "best", decay=config.decay)
    everyone = np.arange(len(taught.records.patients))
    return fit(net, loss, everyone, stage, partial(validated, net, feed, parts), **how)
