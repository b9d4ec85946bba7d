"""A Gaussian copula: every marginal exact, the dependence of codes by pairs; the statistical baseline.

Behind the count of each code stands a standard normal number, and thresholds on it give the count its distribution.
What the codes have to do with each other is the correlation of these numbers. That of a pair is the one under which
both codes are present together as often as they are (tetrachoric correlation, Pearson 1900, Philosophical Transactions
A 195), found for all pairs at once along Plackett's integral (1954, A Reduction Formula for Normal Multivariate
Integrals, Biometrika 41).

Copula libraries for tables take the correlation of normal scores of the columns, as if these were continuous; where 98
of 100 cells are zero, that leaves little of either margins or dependence.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError
from scoehr.generators.base import Generator, Settings, Weights
from scoehr.generators.settings import check_limits
from scoehr.minibatches import Data, SparseRows

LARGEST = 0.99  # correlation, either way
ANGLES = 150  # steps on the way to it


@dataclass(frozen=True)
class CopulaConfig(Settings):
    """Every choice of the model."""

    kind: Literal["count", "binary"] = "count"
    prior: float = 5.0  # patients, expected and observed, added to every pair of codes: rare ones tend to independence
    sampler: Literal["copula"] = "copula"
    steps: int = 1
    sample_batch: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limits("steps", self.steps, "[1, 1]")


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
    weights = ("copula.safetensors",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"copula": {}}
    open_ended = ("thresholds",)
    config: CopulaConfig

    def __init__(self, config: CopulaConfig | None = None, device: str | None = None):
        super().__init__(config, device)
        self.tensors: nn.ParameterDict

    @property
    def network(self) -> nn.Module:
        """No network: the tensors ``factor`` ``(n_codes, n_codes)`` and ``thresholds`` ``(n_codes, K)``."""
        return self.tensors

    def _build(self, vocabulary: CodeMatrix, seed: int) -> None:
        self.vocabulary = vocabulary.take(np.arange(0))
        n_codes = len(vocabulary.codes)
        self._take(
            {
                "copula.safetensors": {
                    "factor": torch.zeros(n_codes, n_codes),
                    "thresholds": torch.zeros(n_codes, 1),
                }
            }
        )

    def _train(
        self,
        data: SparseRows,
        held_out: SparseRows | None,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, Any]]:
        begun = time.perf_counter()
        limits = thresholds(data)
        factor = factorised(tetrachoric(data, self.config.prior))
        self._take({"copula.safetensors": {"factor": factor.float(), "thresholds": limits.float()}})
        nothing = {
            "train_loss": np.nan,
            "validation_loss": np.nan,
            "learning_rate": np.nan,
        }  # no epochs, no loss
        return [{"stage": "copula", "epoch": 1, **nothing, "seconds": time.perf_counter() - begun}]

    def _floats(self, n: int, n_codes: int) -> int:
        return 40 * n_codes**2  # twenty float64 matrices of pairs of codes

    def _draw(self, size: int, sampler: str, steps: int, rng: torch.Generator) -> Tensor:
        if sampler != "copula" or steps != 1:
            raise InputError(
                f"sampler {sampler!r} with {steps} steps does not suit a copula; it has 'copula' with 1"
            )
        self.evaluations = 1
        return (
            torch.randn(size, len(self.vocabulary.codes), generator=rng) @ self.tensors["factor"].T
        )

    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Normal numbers ``(n, n_codes)`` to counts: how many thresholds of its code each has passed."""
        return torch.searchsorted(self.tensors["thresholds"].data, latents.T.contiguous()).T.to(
            latents
        )

    def _weights(self) -> Weights:
        return {"copula.safetensors": {name: tensor.data for name, tensor in self.tensors.items()}}

    def _take(self, weights: Weights) -> None:
        tensors = weights["copula.safetensors"]
        self.tensors = nn.ParameterDict(
            {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()}
        )


def thresholds(counts: Data) -> Tensor:
    """Normal quantiles of Pr(count ≤ k) for k = 0, 1, … below the largest count: ``(n_codes, K)``, up to infinity."""
    rows = SparseRows.of(counts)
    largest = max(1, int(rows.counts.max()))
    shares = rows.frequencies(largest)[:largest].cumsum(0).double() / len(rows)
    return torch.special.ndtri(shares.T.contiguous())


def tetrachoric(counts: Data, prior: float) -> Tensor:
    """Correlations ``(k, k)`` of the normal numbers behind the presence of codes in ``counts`` ``(n, k)``.

    The ratio of observed to expected pairs is drawn towards 1 by ``prior`` pairs on either side, so that two rare codes
    nobody has together count as independent, two common ones as opposed.
    """
    present = SparseRows.of(counts).present()
    n = present.shape[0]
    together = torch.from_numpy((present.T @ present).toarray())
    shares = together.diagonal() / n
    expected = torch.outer(shares, shares)
    ratio = (together + prior) / (n * expected + prior)
    excess = torch.minimum(expected * ratio, torch.minimum(shares[:, None], shares)) - expected
    return correlation(-torch.special.ndtri(shares), excess).fill_diagonal_(1.0)


def correlation(heights: Tensor, excess: Tensor) -> Tensor:
    """ρ ``(k, k)`` for which Pr(zᵢ > hᵢ, zⱼ > hⱼ) is ``excess`` ``(k, k)`` above independence, at ``heights`` ``(k,)``.

    With ρ = sin θ, this excess is ∫₀^θ exp(-(hᵢ² + hⱼ² - 2 hᵢ hⱼ sin τ) / (2 cos² τ)) dτ / 2π: the integral is followed
    until it is reached, for all pairs at once.
    """
    heights = heights.clamp(-8, 8)  # a code that nobody has, or everybody
    squares, product = (
        heights.square()[:, None] + heights.square(),
        excess.sign() * torch.outer(heights, heights),
    )
    left, angle = excess.abs(), torch.zeros_like(excess)
    width = math.asin(LARGEST) / ANGLES
    for step in range(ANGLES):
        middle = (step + 0.5) * width
        density = torch.exp(
            (2 * math.sin(middle) * product - squares) / (2 * math.cos(middle) ** 2)
        ) / (2 * math.pi)
        gain = (width * density).clamp_min(torch.finfo(density.dtype).tiny)
        angle += width * (left / gain).clamp_max(1)
        left = (left - gain).clamp_min(0)
    return excess.sign() * torch.sin(angle)


def factorised(correlations: Tensor) -> Tensor:
    """``F`` ``(k, k)`` with F Fᵀ the nearest that ``correlations`` come to being those of any distribution.

    Solved pair by pair, they need not fit together: negative eigenvalues are cut, then rows brought to length 1.
    """
    values, vectors = torch.linalg.eigh(correlations)
    factor = vectors * values.clamp_min(0).sqrt()
    return factor / factor.norm(dim=1, keepdim=True)
