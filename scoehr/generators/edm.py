"""EDM: Gaussian diffusion on the records themselves, preconditioned, without autoencoder.

The neighbour of ScoEHR that came after it, EHRDiff, takes the design of Karras et al. to patient × code matrices: noise
of standard deviation σ is added to the record, a network D(x; σ) is trained to take it away, and the probability flow
dx/dσ = (x - D(x; σ)) / σ is solved from σ = 80 to 0 by Heun's method. Counts are rounded, presence is cut at one half.

Karras, Aittala, Aila & Laine (2022), Elucidating the Design Space of Diffusion-Based Generative Models, NeurIPS. Yuan,
Zhou & Yu (2024), EHRDiff: Exploring Realistic EHR Synthesis with Diffusion Models, TMLR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError
from scoehr.generators.base import Generator, Settings, Weights
from scoehr.generators.settings import check_limits
from scoehr.minibatches import SparseRows
from scoehr.models import ResidualMLP, check_width
from scoehr.training import Schedule

SIGMA_MIN, SIGMA_MAX, POWER = (
    0.02,
    80.0,
    7.0,
)  # of sampling: EHRDiff's least and Karras et al.'s greatest noise, and ρ
LOG_MEAN, LOG_STD = -1.2, 1.2  # of the noise levels in training: ln σ is normal


@dataclass(frozen=True)
class EDMConfig(Settings):
    """Every choice of the model; batch, rate, epochs, average and steps are EHRDiff's for MIMIC-III."""

    kind: Literal["count", "binary"] = "binary"
    network: Literal["mlp"] = "mlp"
    width: int = 512
    depth: int = 4
    epochs: int = 5000
    batch: int = 1024
    rate: float = 3e-4
    schedule: Schedule = "cosine"
    clip: float = 1.0
    ema: float = 0.999
    sampler: Literal["heun"] = "heun"
    steps: int = 32
    sample_batch: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limits("steps", self.steps, "[2, inf)")
        check_width(self.width)


class Denoiser(nn.Module):
    """A network read as D(x; σ) = E[x₀ | x₀ + σ ε = x], preconditioned so that what goes in and out has unit variance.

    Karras et al. (2022), equation 7 and Table 1. An untrained network, which puts out 0, is the best linear denoiser of
    data with mean 0 and standard deviation ``sigma_data`` in every dimension. The network is told 250 ln σ, a thousand
    times the published ln(σ) / 4, since the embedding's frequencies were made for a thousand whole steps.
    """

    def __init__(self, network: nn.Module, sigma_data: float = 1.0):
        super().__init__()
        self.network = network
        self.register_buffer("sigma_data", torch.tensor(sigma_data))
        self.sigma_data: Tensor

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``x`` ``(B, D)`` at noise levels ``sigma`` ``(B,)`` to the data expected ``(B, D)``."""
        total = (sigma**2 + self.sigma_data**2).sqrt()[:, None]
        output = self.network(x / total, 250 * sigma.log())
        return (self.sigma_data / total) ** 2 * x + sigma[
            :, None
        ] * self.sigma_data / total * output


def denoising_loss(denoiser: Denoiser, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """(σ² + σ_data²) / (σ σ_data)² (D(x + σ ε; σ) - x)², mean over dimensions: ``(B,)`` (Karras et al. 2022, eq. 2).

    The weight makes it about 1 at every noise level for an untrained network.
    """
    weight = (sigma**2 + denoiser.sigma_data**2) / (sigma * denoiser.sigma_data) ** 2
    return weight * (denoiser(x + sigma[:, None] * noise, sigma) - x).square().mean(dim=1)


def noise_levels(steps: int) -> Tensor:
    """``steps + 1`` noise levels from 80 to 0.02, evenly spaced in σ^(1/7), then 0 (Karras et al. 2022, eq. 5)."""
    grid = torch.linspace(
        SIGMA_MAX ** (1 / POWER), SIGMA_MIN ** (1 / POWER), steps, dtype=torch.float64
    )
    return torch.cat([grid**POWER, torch.zeros(1, dtype=torch.float64)])


@torch.no_grad()
def heun(denoiser: Callable[[Tensor, Tensor], Tensor], x: Tensor, levels: Tensor) -> Tensor:
    """The probability flow from noise ``x`` ``(B, D)`` at ``levels[0]`` down to the last level, which may be 0.

    Deterministic, order 2, two evaluations a step, one where the step ends at 0 (Karras et al. 2022, Algorithm 1).
    """

    def slope(x: Tensor, level: float) -> Tensor:
        return (x - denoiser(x, x.new_full((len(x),), level))) / level

    for level, following in pairwise(levels.tolist()):
        step, here = following - level, slope(x, level)
        guess = x + step * here
        x = guess if following == 0 else x + step * (here + slope(guess, following)) / 2
    return x


class EDM(Generator):
    """Diffusion on counts or presence with Gaussian noise.

    >>> model = EDM(EDMConfig(epochs=200)).fit(matrix)                # doctest: +SKIP
    >>> model.sample(1_000, seed=1).write("synthetic.parquet")        # doctest: +SKIP
    """

    name = "edm"
    settings = EDMConfig
    summary = "Gaussian diffusion on the patient vectors themselves."
    architecture = "residual MLP"
    output = "patient vector"
    samplers: ClassVar[dict[str, int | None]] = {"heun": 32}
    weights = ("denoiser.safetensors",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"edm": {}}
    config: EDMConfig

    def __init__(self, config: EDMConfig | None = None, device: str | None = None):
        super().__init__(config, device)
        self.denoiser: Denoiser

    def _train(
        self,
        data: SparseRows,
        held_out: SparseRows | None,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, Any]]:
        denoiser = self.denoiser
        spread = float(data.std())
        if not spread > 0:
            raise InputError(
                "every cell of the matrix is the same, so there is nothing to learn; give other patients"
            )
        denoiser.sigma_data.fill_(spread)

        def loss(x: Tensor, rng: torch.Generator) -> Tensor:
            sigma = torch.exp(LOG_MEAN + LOG_STD * torch.randn(len(x), generator=rng)).to(x)
            return denoising_loss(
                denoiser, x, sigma, torch.randn(x.shape, generator=rng).to(x)
            ).mean()

        return self._learn("denoiser", denoiser, loss, data, held_out, seed, folder, progress)

    def _floats(self, n: int, n_codes: int) -> int:
        batch = max(512, min(n, self.config.batch))
        return batch * (10 * n_codes + 16 * self.config.depth * self.config.width)

    @property
    def network(self) -> nn.Module:
        return self.denoiser

    def _build(self, vocabulary: CodeMatrix, seed: int) -> None:
        self.vocabulary = vocabulary.take(np.arange(0))
        n_codes = len(vocabulary.codes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.denoiser = Denoiser(ResidualMLP(n_codes, self.config.width, self.config.depth))

    def _draw(self, size: int, sampler: str, steps: int, rng: torch.Generator) -> Tensor:
        if sampler != "heun":
            raise InputError(f"sampler {sampler!r} does not suit EDM; it has one, 'heun'")
        if steps < 2:
            raise InputError(f"a sampler needs at least 2 steps, not {steps}")
        noise = SIGMA_MAX * torch.randn(size, len(self.vocabulary.codes), generator=rng)
        records = heun(
            self.denoiser.eval().to(self.device), noise.to(self.device), noise_levels(steps)
        ).cpu()
        self.denoiser.cpu()
        self.evaluations = 2 * steps - 1
        return records

    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Records ``(n, n_codes)`` to the nearest whole, non-negative counts, or to presence."""
        return (
            (latents > 0.5).to(latents)
            if self.config.kind == "binary"
            else latents.round().clamp_min(0)
        )

    def _weights(self) -> Weights:
        return {"denoiser.safetensors": self.denoiser.state_dict()}

    def _take(self, weights: Weights) -> None:
        self.denoiser.load_state_dict(weights["denoiser.safetensors"])
