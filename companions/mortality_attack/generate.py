"""Synthetic stays: 48 hourly series with what was measured when, and the outcome, by a small latent
diffusion.

A stay becomes a vector, and a vector a stay:

* each series a curve of :data:`CURVES` cosines over the 48 hours, drawn from its posterior under a
  normal law of curves, whose mean and covariance are fitted by expectation and maximisation
  (Laird & Ware 1982, Biometrics 38). A series that is hardly measured so keeps the spread that it
  has among stays;
* how often each series is measured in each of :data:`BLOCKS` parts of the window;
* the descriptors of the stay.

Every entry is made normal by its ranks. What the outcome moves is taken out as two shrunken means
(Tibshirani et al. 2002, PNAS 99). Of the rest, the leading principal components and the outcome
are drawn together by the reverse SDE of :mod:`scoehr.sdes`, and the others, which are noise to so
few stays, from their normal law. Without components the law is normal altogether: what the
diffusion has to beat.

Back in time, hours of measurement are drawn so that series that are measured together stay
together, and values scatter around their curve as those of the real stays do, from hour to hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from sklearn.covariance import ledoit_wolf
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor

from companions.mortality_attack import features
from companions.mortality_attack.protocol import Series, Statistics
from companions.mortality_attack.queries import HOURS
from scoehr.generators.settings import Settings
from scoehr.models import ResidualMLP
from scoehr.sampling import solve
from scoehr.sdes import VPSDE, ScoreModel, score_matching_loss, uniform_times
from scoehr.training import TrainingConfig, train

#: Cosines of a curve, and parts of the window in which measurements are counted.
CURVES, BLOCKS = 4, 4
LENGTH = HOURS // BLOCKS
#: Rounds of expectation and maximisation, and quantiles kept of ranks and of scatter.
ROUNDS, QUANTILES = 30, 200
#: Standard errors by which means of an outcome are drawn together.
SHRUNKEN = 1.0
#: Spread of what is added to the outcome before it is diffused.
JITTER = 0.1


@dataclass(frozen=True)
class GeneratorConfig(Settings):
    """``components``: how many principal components are diffused, 0 for the normal law alone;
    ``width``, ``depth``, ``epochs``: of the score network; ``steps``: of the sampler.
    """

    components: int = 32
    width: int = 128
    depth: int = 2
    epochs: int = 100
    batch: int = 128
    learning_rate: float = 1e-3
    steps: int = 50


class Curves(NamedTuple):
    """The normal law of a series' curve, and the scatter around it.

    ``mean`` ``(CURVES,)``, ``covariance``, ``scatter`` quantiles of value less curve, and
    ``memory``, the correlation of that from one hour to the next.
    """

    mean: np.ndarray
    covariance: np.ndarray
    scatter: np.ndarray
    memory: float


def basis() -> np.ndarray:
    """Cosines over the hours, ``(HOURS, CURVES)``, the first constant."""
    hour = (np.arange(HOURS)[:, None] + 0.5) / HOURS
    return np.cos(np.pi * hour * np.arange(CURVES))


# Curves -------------------------------------------------------------------------------------------


def fit_curves(
    values: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[Curves, np.ndarray]:
    """The law of one series' curves, from ``values`` and ``mask`` ``(n, HOURS)``, and a curve of
    each stay drawn given what was measured, ``(n, CURVES)``.
    """
    shape = basis()
    inner = np.einsum("nh,hi,hj->nij", mask.astype(float), shape, shape)
    outer = np.einsum("nh,hi->ni", np.where(mask, values, 0.0).astype(float), shape)
    count, square = mask.sum(), float((np.where(mask, values, 0.0) ** 2).sum())
    noise = max(float(values[mask].var()), 1e-4) / 2
    mean, covariance = np.zeros(CURVES), noise * np.diag(1 / (1 + np.arange(CURVES)) ** 2.0)
    mean[0] = values[mask].mean()
    for _ in range(ROUNDS):
        centre, spread = _posterior(inner, outer, mean, covariance, noise)
        second = spread + np.einsum("ni,nj->nij", centre, centre)
        mean = centre.mean(0)
        covariance = second.mean(0) - np.outer(mean, mean) + 1e-8 * np.eye(CURVES)
        error = square - 2 * (outer * centre).sum() + (inner * second).sum()
        noise = max(error / count, 1e-6)
    centre, spread = _posterior(inner, outer, mean, covariance, noise)
    drawn = centre + np.einsum(
        "nij,nj->ni", np.linalg.cholesky(spread), rng.normal(size=centre.shape)
    )
    left = np.where(mask, values - drawn @ shape.T, np.nan)
    grid = np.linspace(0, 1, QUANTILES)
    law = Curves(mean, covariance, np.nanquantile(left, grid), _memory(left))
    return law, drawn


def _posterior(
    inner: np.ndarray, outer: np.ndarray, mean: np.ndarray, covariance: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(n, CURVES)`` and covariance of each stay's curve given its measurements."""
    prior = np.linalg.inv(covariance)
    spread = np.linalg.inv(prior + inner / noise)
    spread = (spread + spread.transpose(0, 2, 1)) / 2
    return np.einsum("nij,nj->ni", spread, prior @ mean + outer / noise), spread


def _memory(left: np.ndarray) -> float:
    """Correlation of what is left of values in consecutive hours, 0 where hardly any are."""
    one, other = left[:, :-1].ravel(), left[:, 1:].ravel()
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < QUANTILES or min(one[both].std(), other[both].std()) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(one[both], other[both])[0, 1], 0, 0.99))


# The generator ------------------------------------------------------------------------------------


class StayDiffusion:
    """A generator of stays: ``fit`` on stays of one hospital, ``sample`` others.

    Attributes after fitting:
        history: a row an epoch of the score network, empty without components.
    """

    def __init__(self, config: GeneratorConfig | None = None):
        self.config = config or GeneratorConfig()
        self.sde = VPSDE()
        self.history: list[dict[str, Any]] = []

    def fit(
        self, series: Series, statistics: Statistics, *, seed: int = 0, progress: bool = True
    ) -> StayDiffusion:
        """Learn from stays whose gaps are not filled, in units of models."""
        rng = np.random.default_rng([seed, 70])
        self.used = np.flatnonzero(series.mask.any((0, 1)))
        self.limits = [side[self.used] for side in statistics.limits()]
        self.static = series.static
        self.deaths = float(series.died.mean())
        vectors = self._vectors(series, rng)
        self.together = _together(series.mask[..., self.used])
        count = min(QUANTILES, len(series))
        self.ranks = QuantileTransformer(
            n_quantiles=count, output_distribution="normal", random_state=seed
        ).fit(vectors)
        normal = np.clip(self.ranks.transform(vectors), -3, 3)
        died = series.died > 0
        self.means = shrunken_means(normal, died)
        self._components(normal - self.means[died.astype(int)])
        self.diffused = min(self.config.components, len(self.scale))
        if self.diffused:
            self._diffuse(self._latent(normal, died, rng), seed, progress)
        return self

    def _vectors(self, series: Series, rng: np.random.Generator) -> np.ndarray:
        """Curves, counts and descriptors of each stay, ``(n, D)``; ties are broken at random."""
        values, mask = series.values[..., self.used], series.mask[..., self.used]
        found = [fit_curves(values[..., f], mask[..., f], rng) for f in range(len(self.used))]
        self.curves = [law for law, _ in found]
        counts = mask.reshape(len(mask), BLOCKS, LENGTH, -1).sum(2).reshape(len(mask), -1)
        whole = np.concatenate([counts, np.zeros_like(series.static)], 1)
        whole = whole + rng.uniform(-0.5, 0.5, whole.shape)
        whole[:, counts.shape[1] :] = whole[:, counts.shape[1] :] * 1e-3 + series.static
        return np.concatenate([*(drawn for _, drawn in found), whole], 1)

    def _components(self, rest: np.ndarray) -> None:
        """Principal components, the widest first, of what the outcome leaves."""
        covariance, _ = ledoit_wolf(rest, assume_centered=True)
        scale, axes = np.linalg.eigh(covariance)
        self.scale, self.axes = np.sqrt(scale[::-1]), axes[:, ::-1]

    def _latent(self, normal: np.ndarray, died: np.ndarray, rng: np.random.Generator) -> Tensor:
        """The leading components and the outcome, each of mean 0 and spread 1, ``(n, d + 1)``."""
        rest = normal - self.means[died.astype(int)]
        leading = (rest @ self.axes / self.scale)[:, : self.diffused]
        outcome = (died - self.deaths) / np.sqrt(self.deaths * (1 - self.deaths))
        outcome = outcome + JITTER * rng.normal(size=len(died))
        return torch.as_tensor(np.column_stack([leading, outcome]), dtype=torch.float32)

    def _diffuse(self, latent: Tensor, seed: int, progress: bool) -> None:
        """Train the score network."""
        config, sde = self.config, self.sde
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ResidualMLP(latent.shape[1], config.width, config.depth)
        self.model = ScoreModel(network, sde, "noise", time_scale=1000.0)

        def loss(x: Tensor, rng: torch.Generator) -> Tensor:
            times, noise = uniform_times(len(x), rng), torch.randn(x.shape, generator=rng)
            return score_matching_loss(self.model, sde, x, times, noise).mean()

        batch = min(config.batch, len(latent))
        plan = TrainingConfig(
            config.epochs, batch, config.learning_rate, "cosine", clip=1.0, ema=0.99
        )
        self.history = train(
            self.model, loss, latent, plan, seed=seed, name="score", progress=progress
        )
        self.model.eval()

    # Sampling -------------------------------------------------------------------------------------

    def sample(self, n: int, *, seed: int = 0) -> Series:
        """``n`` stays; as large a share of them died as in training."""
        rng = np.random.default_rng([seed, 71])
        latent = rng.normal(size=(n, len(self.scale)))
        likely = rng.normal(size=n)
        if self.diffused:
            torch_rng = torch.Generator().manual_seed(seed)
            start = torch.randn(n, self.diffused + 1, generator=torch_rng)
            drawn = solve("heun", self.model, self.sde, start, self.config.steps, rng=torch_rng)
            latent[:, : self.diffused], likely = drawn[:, :-1].numpy(), drawn[:, -1].numpy()
        died = np.argsort(np.argsort(-likely, kind="stable")) < round(self.deaths * n)
        normal = latent * self.scale @ self.axes.T + self.means[died.astype(int)]
        vectors = self.ranks.inverse_transform(normal)
        return self._series(vectors, died, rng)

    def _series(self, vectors: np.ndarray, died: np.ndarray, rng: np.random.Generator) -> Series:
        """Stays from vectors ``(n, D)``."""
        n, used = len(vectors), len(self.used)
        curves, counts, static = np.split(vectors, [used * CURVES, used * (CURVES + BLOCKS)], 1)
        counts = counts.round().astype(int).reshape(n, BLOCKS, used)
        measured = self._measured(counts, rng)
        line = np.einsum("nfc,hc->nhf", curves.reshape(n, used, CURVES), basis())
        found = np.clip(line + self._scatter(n, rng), *self.limits)
        total = len(features.table())
        mask = np.zeros((n, HOURS, total), bool)
        values = np.zeros((n, HOURS, total), np.float32)
        mask[..., self.used] = measured
        values[..., self.used] = np.where(measured, found, 0)
        ids = np.arange(n)
        return Series(values, mask, self._described(static), died.astype(np.float32), ids, ids)

    def _measured(self, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Which hours are measured, ``(n, HOURS, used)``: the highest of draws that agree across
        series as much as measurements do, as many in each block as ``counts`` ``(n, BLOCKS,
        used)``.
        """
        n, _, used = counts.shape
        drawn = rng.normal(size=(n, BLOCKS, LENGTH, used)) @ self.together.T
        place = np.argsort(np.argsort(-drawn, axis=2), axis=2)
        return (place < counts[:, :, None]).reshape(n, HOURS, used)

    def _scatter(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Values less their curves, ``(n, HOURS, used)``, normal from hour to hour by rank."""
        memory = np.array([law.memory for law in self.curves])
        noise = rng.normal(size=(HOURS, n, len(memory)))
        state = noise[0]
        kept = [state]
        for step in noise[1:]:
            state = memory * state + np.sqrt(1 - memory**2) * step
            kept.append(state)
        rank = stats.norm.cdf(np.stack(kept, 1))
        grid = np.linspace(0, 1, QUANTILES)
        for f, law in enumerate(self.curves):
            rank[..., f] = np.interp(rank[..., f], grid, law.scatter)
        return rank

    def _described(self, static: np.ndarray) -> np.ndarray:
        """Descriptors, those of few values at the nearest of these, and one care unit each."""
        made = static.copy()
        for column in range(made.shape[1]):
            known = np.unique(self.static[:, column])
            if len(known) <= 2:
                nearest = np.abs(made[:, [column]] - known).argmin(1)
                made[:, column] = known[nearest]
        return made.astype(np.float32)


def shrunken_means(normal: np.ndarray, died: np.ndarray) -> np.ndarray:
    """Means of survivors and of those who died, ``(2, D)``, drawn together by standard errors."""
    groups = [normal[~died], normal[died]]
    apart = groups[1].mean(0) - groups[0].mean(0)
    error = np.sqrt(sum(group.var(0) / len(group) for group in groups))
    apart = np.sign(apart) * np.maximum(np.abs(apart) - SHRUNKEN * error, 0)
    share = died.mean()
    centre = normal.mean(0)
    return np.stack([centre - share * apart, centre + (1 - share) * apart])


def _together(mask: np.ndarray) -> np.ndarray:
    """A root of the correlation of what is measured in the same hours, within blocks of stays, of
    ``mask`` ``(n, HOURS, used)``.
    """
    blocks = mask.reshape(-1, LENGTH, mask.shape[2]).astype(float)
    left = (blocks - blocks.mean(1, keepdims=True)).reshape(-1, mask.shape[2])
    covariance = left.T @ left / len(left) + 1e-6 * np.eye(mask.shape[2])
    scale = np.sqrt(np.diag(covariance))
    return np.linalg.cholesky(covariance / np.outer(scale, scale))
