"""A Gaussian copula, the statistical baseline: every marginal exact, dependence by pairs.

Behind the count of each code stands a standard normal variable, and thresholds on it give the count
its distribution. The dependence of codes is the correlation of these variables. That of a pair is
the one under which both codes are present together as often as they are (tetrachoric correlation,
Pearson 1900, Philosophical Transactions A 195), found for all pairs at once along Plackett's
integral (1954, A Reduction Formula for Normal Multivariate Integrals, Biometrika 41).

Copula libraries for tables take the correlation of normal scores of the columns, as if these were
continuous; where 98 of 100 cells are zero, that leaves little of either margins or dependence.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from scoehr.checkpoints import Row
from scoehr.files import InputError
from scoehr.generators.base import Fitting, Generator, Sampling, Settings, Weights
from scoehr.generators.saved import REMEDY
from scoehr.minibatches import Data, SparseRows

LARGEST = 0.99  # correlation, either way
ANGLES = 150  # steps of the integral
FILE = "copula.safetensors"


@dataclass(frozen=True)
class CopulaConfig(Settings):
    """Every choice of the model."""

    kind: Literal["count", "binary"] = "count"
    prior: float = 5.0  # patients, expected and observed, added to every pair: towards independence
    sample_batch: int = 1024


class Copula(Generator):
    """The multivariate normal distribution behind the counts.

    >>> model = Copula().fit(matrix)                                  # doctest: +SKIP
    >>> model.sample(1_000, seed=1).write("synthetic.parquet")        # doctest: +SKIP
    """

    name = "copula"
    settings = CopulaConfig
    summary = "A Gaussian copula: margins as observed, dependence by pairs of codes."
    architecture = "none"
    output = "–"
    weights = (FILE,)
    open_ended = ("thresholds",)
    config: CopulaConfig

    @property
    def network(self) -> nn.Module:
        """No network: ``factor`` ``(n_codes, n_codes)`` and ``thresholds`` ``(n_codes, K)``."""
        return self.tensors

    def _make_networks(self, n_codes: int) -> None:
        self._set(torch.zeros(n_codes, n_codes), torch.zeros(n_codes, 1))

    def _set(self, factor: Tensor, thresholds: Tensor) -> None:
        tensors = {"factor": factor.float(), "thresholds": thresholds.float()}
        self.tensors = nn.ParameterDict(
            {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()}
        )

    def _train(self, fitting: Fitting) -> list[Row]:
        start = time.perf_counter()
        limits = thresholds(fitting.data)
        self._set(factorised(tetrachoric(fitting.data, self.config.prior)), limits)
        row = {"stage": "copula", "epoch": 1, "train_loss": np.nan, "validation_loss": np.nan}
        return [row | {"learning_rate": np.nan, "seconds": time.perf_counter() - start}]

    def _floats(self, n: int, n_codes: int) -> int:
        return 40 * n_codes**2  # twenty float64 matrices of pairs of codes

    def _draw(self, size: int, rng: torch.Generator, how: Sampling) -> Tensor:
        self.evaluations = 1
        normal = torch.randn(size, len(self.vocabulary.codes), generator=rng)
        return normal @ self.tensors["factor"].T

    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Normal variables ``(n, n_codes)`` to counts: how many thresholds each exceeds."""
        limits = self.tensors["thresholds"].data
        return torch.searchsorted(limits, latents.T.contiguous()).T.to(latents)

    def _weights(self) -> Weights:
        return {FILE: {name: tensor.data for name, tensor in self.tensors.items()}}

    def _load_weights(self, weights: Weights) -> None:
        self._set(**weights[FILE])
        if self.config.kind == "binary" and self.tensors["thresholds"].shape[1] > 1:
            raise InputError(f"kind 'binary' is not what {FILE} holds; {REMEDY}")


def thresholds(counts: Data) -> Tensor:
    """Normal quantiles of Pr(count ≤ k) for k = 0, 1, … below the largest count.

    ``(n_codes, K)``, up to infinity.
    """
    rows = SparseRows.of(counts)
    largest = max(1, int(rows.counts.max()))
    cumulative = rows.frequencies(largest)[:largest].cumsum(0).double() / len(rows)
    return torch.special.ndtri(cumulative.T.contiguous())


def tetrachoric(counts: Data, prior: float) -> Tensor:
    """Correlations ``(k, k)`` of the normal variables behind the presence of codes ``(n, k)``.

    The ratio of observed to expected pairs is shrunk towards 1 by ``prior`` pairs on either side.
    So two rare codes never seen together count as independent, two common ones as opposed.
    """
    present = SparseRows.of(counts).present()
    n = present.shape[0]
    together = torch.from_numpy((present.T @ present).toarray())
    prevalence = together.diagonal() / n
    expected = torch.outer(prevalence, prevalence)
    ratio = (together + prior) / (n * expected + prior)
    possible = torch.minimum(prevalence[:, None], prevalence)
    excess = torch.minimum(expected * ratio, possible) - expected
    return correlation(-torch.special.ndtri(prevalence), excess).fill_diagonal_(1.0)


def correlation(heights: Tensor, excess: Tensor) -> Tensor:
    """ρ ``(k, k)`` with Pr(zᵢ > hᵢ, zⱼ > hⱼ) by ``excess`` ``(k, k)`` above independence.

    With ρ = sin θ and ``heights`` hᵢ ``(k,)``, this excess is ∫₀^θ exp(-(hᵢ² + hⱼ² - 2 hᵢ hⱼ sin τ)
    / (2 cos² τ)) dτ / 2π. The integral is followed until it is reached, for all pairs at once.
    """
    heights = heights.clamp(-8, 8)  # a code that nobody has, or everybody
    squares = heights.square()[:, None] + heights.square()
    product = excess.sign() * torch.outer(heights, heights)
    left, angle = excess.abs(), torch.zeros_like(excess)
    width = math.asin(LARGEST) / ANGLES
    for step in range(ANGLES):
        middle = (step + 0.5) * width
        exponent = (2 * math.sin(middle) * product - squares) / (2 * math.cos(middle) ** 2)
        density = torch.exp(exponent) / (2 * math.pi)
        gain = (width * density).clamp_min(torch.finfo(density.dtype).tiny)
        angle += width * (left / gain).clamp_max(1)
        left = (left - gain).clamp_min(0)
    return excess.sign() * torch.sin(angle)


def factorised(correlations: Tensor) -> Tensor:
    """``F`` ``(k, k)`` with F Fᵀ the correlations of a distribution near ``correlations``.

    Solved pair by pair, they need not fit together: negative eigenvalues are cut, then rows brought
    to length 1.
    """
    values, vectors = torch.linalg.eigh(correlations)
    factor = vectors * values.clamp_min(0).sqrt()
    return factor / factor.norm(dim=1, keepdim=True)
