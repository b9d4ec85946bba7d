"""Randomized ablation: a verdict by vote over random parts of a stay, with a certificate in changed
cells.

A network sees each measured cell with a small probability and votes; the majority of many draws is
the verdict (Levine & Feizi 2020, AAAI). Whoever changes ρ cells can alter only those votes that saw
one of them, a share of at most 1 - (1 - keep)^ρ. A lead of the majority beyond that cannot be
undone, whatever the values that the cells are given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import beta
from torch import Tensor, nn

from companions.mortality_attack import evaluate, features
from companions.mortality_attack.models import Classifier
from companions.mortality_attack.protocol import Series
from companions.mortality_attack.queries import HOURS
from companions.mortality_attack.train import tensors
from scoehr.generators.settings import Settings

#: Chance that a certificate is wrong, and how sharply slopes see a vote.
MISTAKE, SHARPNESS = 0.05, 4.0


@dataclass(frozen=True)
class AblationConfig(Settings):
    """``keep``: probability that a measured cell is seen in a draw; ``draws``: how many vote, an
    odd number.
    """

    keep: float = 0.05
    draws: int = 101


class Ablated(Classifier):
    """A classifier that votes over random parts of what was measured, the same parts each time it
    is asked.
    """

    def __init__(self, model: Classifier, config: AblationConfig, seed: int = 0):
        nn.Module.__init__(self)
        self.model, self.inputs, self.ablation = model, model.inputs, config
        shape = (config.draws, HOURS, len(features.table()))
        drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("seen", drawn < config.keep)

    seen: Tensor

    def votes(self, values: Tensor, mask: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        """Log odds of death of every draw above the threshold, and their probabilities, each
        ``(draws, B)``.
        """
        margins, chances = [], []
        for seen in self.seen:
            part = mask & seen
            logits = self.model(values * part, part, static)
            margins.append(self.model.margin(logits))
            chances.append(logits.softmax(-1)[:, 1])
        return torch.stack(margins), torch.stack(chances)

    def forward(self, values: Tensor, mask: Tensor, static: Tensor) -> Tensor:
        """Share of votes for death above a half, ``(B, 2)`` with zeros first; its slope is that of
        soft votes.
        """
        margins, _ = self.votes(values, mask, static)
        soft = torch.sigmoid(SHARPNESS * margins).mean(0)
        share = (margins >= 0).to(values).mean(0) + soft - soft.detach()
        return torch.stack([torch.zeros_like(share), share - 0.5], 1)

    def margin(self, logits: Tensor) -> Tensor:
        """How far the vote is on the side of death, ``(B,)``."""
        return logits[:, 1] - logits[:, 0]

    @torch.no_grad()
    def judged(self, series: Series, batch: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Share of votes for death and mean probability ``(n,)``, and the probability of every draw
        ``(draws, n)``.
        """
        values, mask, static, _ = tensors(series)
        parts = [
            self.votes(values[rows], mask[rows], static[rows])
            for rows in torch.arange(len(series)).split(batch)
        ]
        margins, chances = (torch.cat(side, 1).numpy() for side in zip(*parts, strict=True))
        return (margins >= 0).mean(0), chances.mean(0).astype(float), chances.astype(float)

    def probability(self, series: Series) -> np.ndarray:
        """Mean probability of death over the draws, ``(n,)``."""
        return self.judged(series)[1]

    def fit_threshold(self, series: Series) -> None:
        """Give the votes the threshold that serves single draws best on validation stays."""
        chances = self.judged(series)[2]
        died = np.tile(series.died, len(chances))
        self.model.threshold.fill_(evaluate.best_threshold(chances.ravel(), died))


def hidden(series: Series, keep: float, seed: int = 0) -> Series:
    """Stays of which only a random share of the measured cells is left."""
    mask = series.mask & (np.random.default_rng([seed, 3]).random(series.mask.shape) < keep)
    return replace(series, mask=mask, values=series.values * mask)


def certified(votes: np.ndarray, died: np.ndarray, config: AblationConfig) -> np.ndarray:
    """How many cells may be changed without turning a right verdict, ``(n,)``, at a chance of error
    of 5 % a stay.

    -1 where the verdict is wrong, or where the votes are too even to be sure of it. ``votes``: the
    share for death.
    """
    won = np.where(died > 0, votes, 1 - votes)
    count = np.round(won * config.draws)
    low = np.where(count > 0, beta.ppf(MISTAKE, count, config.draws - count + 1), 0.0)
    lead = np.clip(low - 0.5, 0, 0.5)
    # largest ρ with 1 - (1 - keep)^ρ < lead
    cells = np.ceil(np.log1p(-lead) / np.log1p(-config.keep)) - 1
    return np.where(low > 0.5, np.maximum(cells, 0), -1)
