"""Thinning diffusion with differential privacy: ε bounds what the model tells of a patient.

The patients are used twice, each time under noise: for the distributions of counts and lengths
(Gaussian mechanism), and for the gradients, clipped patient by patient (DP-SGD; Abadi et al. 2016).
Opacus (Yousefpour et al. 2021), which training alone needs, clips, adds the noise and accounts for
both in Rényi divergence. Two sets of patients are neighbours if one has a patient more; the number
of patients is taken as public, and so is the vocabulary unless it is noised too (Gopi et al. 2020,
Differentially Private Set Union, ICML). Noise is drawn from the system's entropy
and not from the seed: who knew the seed could remove it. It is floating-point noise, of which
Mironov (2012) shows that it leaks more than the theory says when each bit of the weights is
examined.
"""

from __future__ import annotations

import math
import secrets
import time
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from scoehr.checkpoints import Row
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError
from scoehr.generators.base import Fitting
from scoehr.generators.public import on_codes
from scoehr.generators.settings import since
from scoehr.generators.thinning import Thinning, ThinningConfig
from scoehr.minibatches import CELLS, Data, SparseRows
from scoehr.models import ResidualMLP, check_width
from scoehr.thinning import LENGTHS, MAX_LEVEL, RateModel, count_lengths, thin, thinning_loss
from scoehr.training import learning_rate_factor

if TYPE_CHECKING:
    from opacus.grad_sample import GradSampleModuleFastGradientClipping as Clipped
    from opacus.optimizers import DPOptimizerFastGradientClipping as Noisy

#: Share of delta with which a code of one patient alone may enter a noised vocabulary.
LEFT_TO_VOCABULARY = 0.1


@dataclass(frozen=True)
class PrivateConfig(ThinningConfig):
    """Every choice of the model; ``epsilon`` and ``delta`` are the promise, the rest serves it."""

    width: int = 128
    epochs: int = 40
    batch: int = 1024  # on average: every patient is in each batch with the same probability
    learning_rate: float = 5e-4
    pooling: float = since(0.0, before=0.0)
    support: float = since(0.0, before=0.0)
    patience: int | None = since(None, before=None)  # losses are not looked at
    least_gain: float = since(0.0, before=0.0)
    epsilon: float = 8.0
    delta: float = 1e-5
    max_gradient_norm: float = 100.0  # of a patient; a lower one biases rates of long vectors
    max_codes: int = 40  # of a patient that count for the distributions of counts
    marginals_noise: float = 4.0  # standard deviation over sensitivity
    vocabulary: Literal["public", "noised"] = since("public", before="public")
    vocabulary_noise: float = since(2.0, before=2.0)  # likewise, where it is noised

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)


class PlainMLP(ResidualMLP):
    """The residual MLP in place of the one on records, of layers that Opacus supports."""

    def read(self, x: Tensor, t: Tensor) -> tuple[Tensor]:
        """The output on vectors ``(B, n_codes)`` at times ``(B,)``."""
        return (self(x, t),)

    def codes(self, x: Tensor, read: Tensor) -> Tensor:
        """A number a code, ``(B, n_codes)``."""
        return read

    def length(self, read: Tensor) -> Tensor:
        """0 ``(B,)``: lengths are those of Bayes' rule."""
        return torch.zeros_like(read[:, 0])


class Private(Thinning):
    """Thinning diffusion under (ε, δ)-differential privacy; ``spent`` says which ε was reached.

    >>> model = Private(PrivateConfig(epsilon=3.0)).fit(matrix)       # doctest: +SKIP
    >>> model.spent                                                   # doctest: +SKIP
    """

    name = "private"
    settings = PrivateConfig
    summary = "Thinning diffusion, trained under differential privacy."
    architecture = "residual MLP"
    layers = PlainMLP
    releases_data_facts = False
    config: PrivateConfig

    def fit(
        self, train_set: CodeMatrix, validation: CodeMatrix | None = None, **options: Any
    ) -> Self:
        """Train as :meth:`Generator.fit` says; a noised vocabulary takes the place of the table's.

        No losses of validation patients are looked at. InputError where no code is frequent enough.
        """
        if self.config.vocabulary == "noised":
            codes = noised_vocabulary(train_set, self.config, self._secret())
            train_set = on_codes(train_set, codes)
        return super().fit(train_set, **options)

    def _train(self, fitting: Fitting) -> list[Row]:
        """Without losses and checkpoints, which would tell of patients without noise."""
        config, data, n = self.config, SparseRows.of(fitting.data), len(fitting.data)
        if config.delta >= 1 / n:
            raise InputError(
                f"delta {config.delta:g} promises nothing to {n:,} patients; set it below "
                f"{1 / n:.1g}"
            )
        rng = self._secret()
        chance = min(1.0, config.batch / n)  # of a patient to be in a batch
        steps = math.ceil(1 / chance)  # of an epoch
        noise = noise_for(config, chance, config.epochs * steps)
        self._set_marginals(data, rng)
        self.rate.to(self.device)
        clipped, optimiser = self._private(noise)
        average = AveragedModel(self.rate.network, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        rows = []
        for epoch in tqdm(range(config.epochs), "rate", disable=not fitting.progress or None):
            start = time.perf_counter()
            learning_rate = config.learning_rate * learning_rate_factor(
                config.schedule, epoch, config.epochs
            )
            optimiser.param_groups[0]["lr"] = learning_rate
            for _ in range(steps):
                self._step(self._batch(data, chance, rng), clipped, optimiser, rng)
                average.update_parameters(self.rate.network)
            spent = epsilon(config, noise, chance, (epoch + 1) * steps)
            row = {"stage": "rate", "epoch": epoch + 1, "epsilon": spent}
            row |= {"learning_rate": learning_rate, "seconds": time.perf_counter() - start}
            rows.append(row)
        clipped.to_standard_module()
        self.rate.network.load_state_dict(average.module.state_dict())
        self.rate.cpu()
        return rows

    @staticmethod
    def _secret(device: str = "cpu") -> torch.Generator:
        """Random numbers that nobody can draw again."""
        return torch.Generator(device).manual_seed(secrets.randbits(63))

    def _floats(self, n: int, n_codes: int) -> int:
        return 2 * super()._floats(n, n_codes) + 6 * CELLS  # two passes back over each batch

    def _private(self, noise: float) -> tuple[Clipped, Noisy]:
        """The network with the norm of each patient's gradient, and Adam on their noised sum."""
        from opacus.grad_sample import GradSampleModuleFastGradientClipping as Clipped
        from opacus.optimizers import DPOptimizerFastGradientClipping as Noisy

        config = self.config
        clipped = Clipped(
            self.rate.network, max_grad_norm=config.max_gradient_norm, loss_reduction="sum"
        )
        adam = torch.optim.Adam(self.rate.network.parameters(), lr=config.learning_rate)
        return clipped, Noisy(
            adam,
            noise_multiplier=noise,
            max_grad_norm=config.max_gradient_norm,
            expected_batch_size=config.batch,
            generator=self._secret(self.device),
        )

    def _set_marginals(self, data: SparseRows, rng: torch.Generator) -> None:
        counts, lengths = (
            release(data, self.config, rng) for release in (noised_counts, noised_lengths)
        )
        self.rate.set_marginals(counts, lengths)

    def _batch(self, data: SparseRows, chance: float, rng: torch.Generator) -> Tensor:
        """Patients ``(B, n_codes)``, each with the same chance."""
        return data[torch.rand(len(data), generator=rng) < chance]

    def _step(self, x: Tensor, clipped: Clipped, optimiser: Noisy, rng: torch.Generator) -> None:
        """One step on a batch ``(B, n_codes)`` of any size; the noise hides how many there were."""
        level = self._levels(len(x), rng)
        thinned = thin(x, level, rng)
        clipped.enable_hooks()
        losses = thinning_loss(
            self.rate, x.to(self.device), thinned.to(self.device), level.to(self.device)
        )  # (B,)
        with warnings.catch_warnings():  # counts need no gradients, which PyTorch reports
            warnings.filterwarnings("ignore", "Full backward hook is firing")
            losses.sum().backward(retain_graph=True)  # for the norms alone
            factor = clipped.get_clipping_coef()  # (B,) on each patient's gradient
            clipped.disable_hooks()
            optimiser.zero_grad()
            (factor * losses).sum().backward()
        optimiser.step()

    def _levels(self, n: int, rng: torch.Generator) -> Tensor:
        """Levels ``(n,)`` of the density of training, each independent of other patients."""
        return (1 - torch.rand(n, generator=rng) ** 2).clamp(max=MAX_LEVEL)

    @property
    def spent(self) -> float:
        """The ε of the training, at ``config.delta``."""
        if "epsilon" not in self.history:
            raise InputError("the model is not fitted; call fit, or load a saved one")
        spent = pd.to_numeric(self.history["epsilon"], errors="coerce").iloc[-1:]
        if not (spent > 0).any():
            raise InputError(
                "the history does not say which ε was spent; restore the model or fit it again"
            )
        return float(spent.iloc[0])

    def write(self, folder: Path, **extra: Any) -> None:
        promise: dict[str, Any] = {"epsilon": self.spent, "delta": self.config.delta}
        promise["neighbours"] = "one patient more or less"
        promise["vocabulary"] = self.config.vocabulary
        super().write(folder, **{"privacy": promise, **extra})


def noised_vocabulary(
    matrix: CodeMatrix, config: PrivateConfig, rng: torch.Generator
) -> dict[str, str]:
    """The codes of enough patients, sorted, without the table's titles.

    A code stays whose sum of shares is above :func:`vocabulary_threshold` under Gaussian noise.
    InputError if none is.
    """
    sums = _shares(SparseRows(matrix.counts), config, rng)
    noise = torch.randn(sums.shape, generator=rng, dtype=torch.float64)
    kept = (sums > 0) & (sums + config.vocabulary_noise * noise > vocabulary_threshold(config))
    if not kept.any():
        raise InputError(
            f"{len(matrix):,} patients are too few for a noised vocabulary: no code stands out; "
            "give a public list of codes, or raise epsilon and lower vocabulary_noise"
        )
    return {str(code): "" for code in sorted(matrix.codes[kept.numpy()])}


def _shares(x: SparseRows, config: PrivateConfig, rng: torch.Generator) -> Tensor:
    """Sums ``(n_codes,)`` that a patient moves by 1 in Euclidean norm.

    Of a patient with more codes than ``max_codes`` as many count; each has 1 / √(how many count).
    """
    sums = np.zeros(x.shape[1])
    for part in x.parts():
        has = _bounded(part, config.max_codes, rng).present()
        sums += (1 / np.sqrt(np.maximum(has.sum(axis=1), 1))) @ has
    return torch.from_numpy(sums)


def vocabulary_threshold(config: PrivateConfig) -> float:
    """The sum that a code must exceed, so that those of one patient alone pass with the chance
    ``LEFT_TO_VOCABULARY`` · delta at most.

    Such a patient's k codes have 1 / √k each, so the threshold is the largest over k = 1 …
    ``max_codes`` of 1 / √k + noise · Φ⁻¹((1 - chance)^(1 / k)) (Gopi et al. 2020, Theorem 5.1).
    """
    k = np.arange(1, config.max_codes + 1)
    chance = LEFT_TO_VOCABULARY * config.delta
    high = -norm.ppf(-np.expm1(np.log1p(-chance) / k))  # Φ⁻¹ of what is nearly 1
    return float(np.max(1 / np.sqrt(k) + config.vocabulary_noise * high))


def noised_counts(data: Data, config: PrivateConfig, rng: torch.Generator) -> Tensor:
    """How many patients have m of a code, ``(MAX_COUNT + 1, n_codes)``, under Gaussian noise.

    Of a patient with more codes than ``max_codes`` as many count, drawn evenly. So a patient moves
    the cells of m > 0 by at most √max_codes in Euclidean norm, and by √(max_codes + 1) together
    with the one of the lengths. What is below one standard deviation of the noise, or four where m
    is above 1 and most cells are empty, counts as none.
    """
    counts = torch.zeros(RateModel.MAX_COUNT, data.shape[1], dtype=torch.float64)
    for part in SparseRows.of(data).parts():
        counts += _bounded(part, config.max_codes, rng).frequencies(RateModel.MAX_COUNT)[1:]
    spread = _spread(config)
    noised = counts + spread * torch.randn(counts.shape, generator=rng, dtype=torch.float64)
    least = spread * torch.tensor([1.0] + [4.0] * (len(counts) - 1))[:, None]
    noised = torch.where(noised > least, noised, 0.0)
    return torch.cat([(len(data) - noised.sum(0, keepdim=True)).clamp(min=0), noised])


def _bounded(x: Tensor, most: int, rng: torch.Generator) -> SparseRows:
    """Vectors ``(B, n_codes)`` with at most so many of their codes, drawn evenly."""
    score = torch.rand(x.shape, generator=rng) * (x > 0)
    least = score.topk(min(most, x.shape[1]), dim=1).values[:, -1:]
    return SparseRows.of(torch.where((score > 0) & (score >= least), x, 0.0))


def noised_lengths(data: Data, config: PrivateConfig, rng: torch.Generator) -> Tensor:
    """How many patients have vectors of each of ``LENGTHS``, ``(1024,)``, under the same noise.

    Lengths within a quarter of each other are counted together and spread evenly. What is below
    five standard deviations of the noise counts as none, so no synthetic vector is as long as the
    rarest. InputError if none stands out.
    """
    bins = torch.log1p(LENGTHS).div(math.log(1.25)).long()  # (1024,)
    counts = torch.zeros(int(bins[-1]) + 1, dtype=torch.float64)
    counts = counts.index_add(0, bins, count_lengths(data))
    spread = _spread(config)
    noised = counts + spread * torch.randn(len(counts), generator=rng, dtype=torch.float64)
    seen = noised > 5 * spread
    if not seen.any():
        raise InputError(
            f"{len(data):,} patients are too few: no length of record stands out; lower "
            "marginals_noise"
        )
    widths = bins.bincount(minlength=len(counts)).clamp(min=1)
    return (torch.where(seen, noised, 0.0) / widths)[bins]


def _spread(config: PrivateConfig) -> float:
    """Standard deviation of the noise on counts of patients, all together."""
    return config.marginals_noise * math.sqrt(config.max_codes + 1)


@lru_cache
def epsilon(config: PrivateConfig, noise: float, chance: float, steps: int) -> float:
    """ε at ``config.delta`` of the distributions, a noised vocabulary and ``steps`` steps, by Rényi
    accounting."""
    try:
        from opacus.accountants import RDPAccountant
    except ImportError:
        raise InputError(
            "differential privacy needs Opacus; install it with: pip install 'scoehr[private]'"
        ) from None
    accountant = RDPAccountant()
    accountant.history = [(config.marginals_noise, 1.0, 1), (noise, chance, steps)]
    delta = config.delta
    if config.vocabulary == "noised":
        accountant.history.append((config.vocabulary_noise, 1.0, 1))
        delta *= 1 - LEFT_TO_VOCABULARY
    with warnings.catch_warnings():  # a bound that more orders would tighten holds as it is
        warnings.filterwarnings("ignore", "Optimal order is")
        return accountant.get_epsilon(delta)


@lru_cache
def noise_for(config: PrivateConfig, chance: float, steps: int) -> float:
    """The least noise of the gradients, over their norm, that keeps ``config.epsilon``."""
    lowest, highest = 0.3, 1e4
    over = lambda noise: epsilon(config, noise, chance, steps) - config.epsilon  # noqa: E731
    if over(highest) > 0:
        raise InputError(
            f"epsilon {config.epsilon:g} is less than the marginals spend; raise marginals_noise "
            "(and vocabulary_noise, if it is noised) or epsilon"
        )
    return lowest if over(lowest) < 0 else float(brentq(over, lowest, highest, xtol=1e-4)) + 1e-4
