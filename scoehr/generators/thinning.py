"""Thinning diffusion on counts: the recommended generator.

:mod:`scoehr.thinning` has the mathematics; here it gets a network, settings and tables of patients.
No autoencoder, no rounding, no Gaussian noise on whole numbers that are mostly zero.

Chen & Zhou (2023), Learning to Jump: Thinning and Thickening Latent Counts for Generative Modeling,
ICML. Santos, Fox, Lubbers & Lin (2023), Blackout Diffusion, ICML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from scoehr import thinning
from scoehr.checkpoints import Row
from scoehr.files import InputError
from scoehr.generators import conditions
from scoehr.generators.base import Fitting, Generator, Sampling, Settings, Weights
from scoehr.generators.settings import since
from scoehr.models import RecordMLP, ResidualMLP
from scoehr.thinning import RateModel, thinning_levels
from scoehr.training import Schedule


@dataclass(frozen=True)
class ThinningConfig(Settings):
    """Every choice of the model."""

    kind: Literal["count", "binary"] = "count"
    width: int = 256
    depth: int = 2
    epochs: int = 60
    batch: int = 256
    learning_rate: float = 2e-3
    schedule: Schedule = "cosine"
    clip: float = 10.0  # above most norms: clipped gradients would bias the rates
    blur: float = 0.05  # of the lengths of the training patients, relative to them
    lengths: Literal["blurred", "supported"] = since("blurred", before="blurred")  # less if common
    ema: float = 0.999
    pooling: float = since(5.0, before=0.0)  # patients of the counts of all codes, for each code
    support: float = since(0.005, before=0.0)  # share with a code at whom half is learned of it
    patience: int | None = since(10, before=None)  # epochs without a better; None: the last
    least_gain: float = since(0.002, before=0.0)  # of the loss, by which an epoch is better
    sampler: Literal["exact_jumps", "tau_leaping"] = "exact_jumps"
    steps: int | None = None  # of tau_leaping
    sample_batch: int = 4096  # grown together; at the end few are left to fill the processor

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler == "exact_jumps" and self.steps is not None:
            raise InputError("sampler exact_jumps takes no steps; set sampler to tau_leaping")


class Thinning(Generator):
    """Diffusion on the counts themselves.

    >>> model = Thinning().fit(matrix)                                # doctest: +SKIP
    >>> model.sample(1_000, seed=1).write("synthetic.parquet")        # doctest: +SKIP
    >>> model.sample(1_000, condition=["428"])                        # doctest: +SKIP

    On condition, every patient has the codes named, and the other codes as patients with them have
    those. A label (sex, age group, outcome) is a code like any other.
    """

    name = "thinning"
    settings: ClassVar[type[Settings]] = ThinningConfig
    summary = "Thinning diffusion: records are grown from nothing, diagnosis by diagnosis."
    architecture = "residual MLP on patient vectors"
    output = "rate"
    samplers: ClassVar[dict[str, int | None]] = {"exact_jumps": None, "tau_leaping": 64}
    weights = ("rate.safetensors",)
    conditional = True
    layers: ClassVar[type[ResidualMLP]] = RecordMLP  # the network of the rates
    config: ThinningConfig

    def _make_networks(self, n_codes: int) -> None:
        network = self.layers(n_codes, self.config.width, self.config.depth)
        config, supported = self.config, self.config.lengths == "supported"
        self.rate = RateModel(
            network, n_codes, config.blur, supported, config.pooling, config.support
        )

    @property
    def network(self) -> nn.Module:
        return self.rate.network

    def _train(self, fitting: Fitting) -> list[Row]:
        self.rate.fit_marginals(fitting.data)
        stopping = {name: getattr(self.config, name) for name in ("patience", "least_gain")}
        config = self._training_config(len(fitting.data), **stopping)
        how: dict[str, Any] = {"device": self.device, "losses": self._losses}
        return fitting.train("rate", self.rate, self.rate.loss, config, **how)

    def _losses(self, x: Tensor, draws: int, rng: torch.Generator) -> Tensor:
        levels = thinning_levels(draws, rng).expand(len(x), -1).T
        return torch.stack([self.rate.losses(x, level, rng) for level in levels]).mean(0)

    def _floats(self, n: int, n_codes: int) -> int:
        tables = 10 * RateModel.LEVELS * (RateModel.MAX_THINNED + 1) * n_codes
        each = 16 * n_codes + 16 * self.config.depth * self.config.width
        return max(tables, min(n, self.config.batch) * each)

    def _draw(self, size: int, rng: torch.Generator, how: Sampling) -> Tensor:
        start = torch.zeros(1, len(self.vocabulary.codes))
        start[:, list(how.columns)] = 1.0
        grow = lambda n: self._grow(start.expand(n, -1), rng, how.steps)  # noqa: E731
        if not how.columns:
            x, self.evaluations = grow(size)
            return x
        found = conditions.sample_by_rejection(grow, how.columns, size, rng)
        self.accepted += found.accepted
        self.proposed += found.proposed
        self.evaluations = found.evaluations
        return found.x

    def _grow(self, start: Tensor, rng: torch.Generator, steps: int | None) -> tuple[Tensor, int]:
        """Patients ``(B, n_codes)`` from ``start``, by jumps or in steps; evaluations a patient."""
        how: dict[str, Any] = {"device": self.device, "rng": rng}
        rate = self.rate.eval().to(self.device)
        if steps is None:
            x, evaluations = thinning.exact_jumps(rate, start, **how)
            return x, round(evaluations)
        how["binary"] = self.config.kind == "binary"
        parts = start.split(thinning.ROWS)
        return torch.cat([thinning.tau_leaping(rate, part, steps, **how) for part in parts]), steps

    def _modules(self) -> dict[str, nn.Module]:
        return {"rate.safetensors": self.rate}

    def _load_weights(self, weights: Weights) -> None:
        super()._load_weights(weights)
        self.rate.build_tables()
