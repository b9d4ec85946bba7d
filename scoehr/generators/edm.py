"""EDM: Gaussian diffusion on the patient vectors themselves, preconditioned, without autoencoder.

EHRDiff brings the design of Karras et al. to patient by code matrices: noise of standard deviation
σ is added, a network D(x; σ) is trained to remove it, and the probability flow dx/dσ = (x - D(x;
σ)) / σ is solved from σ = 80 to 0 by Heun's method. Counts are rounded, presence is cut at one
half.

Karras, Aittala, Aila & Laine (2022), Elucidating the Design Space of Diffusion-Based Generative
Models, NeurIPS. Yuan, Zhou & Yu (2024), EHRDiff: Exploring Realistic EHR Synthesis with Diffusion
Models, TMLR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from scoehr.checkpoints import Row
from scoehr.files import InputError
from scoehr.generators.base import Fitting, Generator, Sampling, Settings
from scoehr.generators.settings import check_limits
from scoehr.minibatches import SparseRows
from scoehr.models import ResidualMLP, check_width
from scoehr.sampling import heun_steps
from scoehr.training import Schedule

SIGMA_MIN, SIGMA_MAX = 0.02, 80.0  # in sampling: EHRDiff's and Karras et al.'s
POWER = 7.0  # ρ of the noise levels
LOG_MEAN, LOG_STD = -1.2, 1.2  # of the noise levels in training: ln σ is normal


@dataclass(frozen=True)
class EDMConfig(Settings):
    """Every choice of the model; the defaults are EHRDiff's for MIMIC-III but for the width."""

    kind: Literal["count", "binary"] = "binary"
    width: int = 512
    depth: int = 4
    epochs: int = 5000
    batch: int = 1024
    learning_rate: float = 3e-4
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
    """A network as D(x; σ) = E[x₀ | x₀ + σ ε = x], with inputs and outputs of unit variance.

    Karras et al. (2022), equation 7 and Table 1. An untrained network, whose output is 0, is the
    best linear denoiser of data with mean 0 and standard deviation ``sigma_data`` in every
    dimension. Its second input is 250 ln σ, a thousand times the published ln(σ) / 4, since the
    frequencies of the embedding were chosen for a thousand integer steps.
    """

    def __init__(self, network: nn.Module, sigma_data: float = 1.0):
        super().__init__()
        self.network = network
        self.register_buffer("sigma_data", torch.tensor(sigma_data))
        self.sigma_data: Tensor

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``x`` ``(B, D)`` at noise levels ``sigma`` ``(B,)`` to the expected data ``(B, D)``."""
        total = (sigma**2 + self.sigma_data**2).sqrt()[:, None]
        output = self.network(x / total, 250 * sigma.log())
        skip = (self.sigma_data / total) ** 2 * x
        return skip + sigma[:, None] * self.sigma_data / total * output


def denoising_loss(denoiser: Denoiser, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """(σ² + σ_data²) / (σ σ_data)² (D(x + σ ε; σ) - x)², mean over dimensions: ``(B,)``.

    Karras et al. (2022), eq. 2. The weight makes it about 1 at every noise level for an untrained
    network.
    """
    weight = (sigma**2 + denoiser.sigma_data**2) / (sigma * denoiser.sigma_data) ** 2
    return weight * (denoiser(x + sigma[:, None] * noise, sigma) - x).square().mean(dim=1)


def noise_levels(steps: int) -> Tensor:
    """``steps + 1`` noise levels: from 80 to 0.02, evenly spaced in σ^(1/7), then 0.

    Karras et al. (2022), eq. 5.
    """
    ends = SIGMA_MAX ** (1 / POWER), SIGMA_MIN ** (1 / POWER)
    grid = torch.linspace(*ends, steps, dtype=torch.float64)
    return torch.cat([grid**POWER, torch.zeros(1, dtype=torch.float64)])


@torch.no_grad()
def probability_flow(
    denoiser: Callable[[Tensor, Tensor], Tensor], x: Tensor, levels: Tensor
) -> Tensor:
    """From noise ``x`` ``(B, D)`` at ``levels[0]`` down to the last level by Heun."""

    def slope(x: Tensor, i: int) -> Tensor:
        level = float(levels[i])
        return (x - denoiser(x, x.new_full((len(x),), level))) / level

    return heun_steps(slope, x, levels)


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
    config: EDMConfig

    def _make_networks(self, n_codes: int) -> None:
        self.denoiser = Denoiser(ResidualMLP(n_codes, self.config.width, self.config.depth))

    @property
    def network(self) -> nn.Module:
        return self.denoiser

    def _train(self, fitting: Fitting) -> list[Row]:
        denoiser = self.denoiser
        spread = float(SparseRows.of(fitting.data).std())
        if not spread > 0:
            raise InputError(
                "every cell of the matrix is the same, so there is nothing to learn; give other "
                "patients"
            )
        denoiser.sigma_data.fill_(spread)

        def loss(x: Tensor, rng: torch.Generator) -> Tensor:
            sigma = torch.exp(LOG_MEAN + LOG_STD * torch.randn(len(x), generator=rng)).to(x)
            noise = torch.randn(x.shape, generator=rng).to(x)
            return denoising_loss(denoiser, x, sigma, noise).mean()

        config = self._training_config(len(fitting.data))
        return fitting.train("denoiser", denoiser, loss, config, device=self.device)

    def _floats(self, n: int, n_codes: int) -> int:
        batch = max(512, min(n, self.config.batch))
        return batch * (10 * n_codes + 16 * self.config.depth * self.config.width)

    def _draw(self, size: int, rng: torch.Generator, how: Sampling) -> Tensor:
        steps = how.steps or self.config.steps
        noise = SIGMA_MAX * torch.randn(size, len(self.vocabulary.codes), generator=rng)
        denoiser = self.denoiser.eval().to(self.device)
        x = probability_flow(denoiser, noise.to(self.device), noise_levels(steps)).cpu()
        self.denoiser.cpu()
        self.evaluations = 2 * steps - 1
        return x

    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Vectors ``(n, n_codes)`` to the nearest whole, non-negative counts, or to presence."""
        if self.config.kind == "binary":
            return (latents > 0.5).to(latents)
        return latents.round().clamp_min(0)

    def _modules(self) -> dict[str, nn.Module]:
        return {"denoiser.safetensors": self.denoiser}
