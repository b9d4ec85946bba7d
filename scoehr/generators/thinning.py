"""Count-native diffusion by thinning: the generator we recommend.

Forward, every recorded diagnosis survives to level a with probability a, independently: x_a | x₁ ~ Binomial(x₁, a). At
a = 0 every record is empty. The network sees x_a and a and tells how many more of each code the whole record holds,
E[x₁ - x_a | x_a]; from that the record is grown back, birth by birth. No autoencoder, no rounding, no Gaussian noise on
whole numbers that are mostly zero.

Chen & Zhou (2023), Learning to Jump: Thinning and Thickening Latent Counts for Generative Modeling, ICML. Santos, Fox,
Lubbers & Lin (2023), Blackout Diffusion, ICML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from scoehr import sampling
from scoehr.data.matrix import CodeMatrix
from scoehr.files import InputError, warn
from scoehr.generators.base import Generator, Settings, Weights
from scoehr.minibatches import SparseRows
from scoehr.models import RecordMLP, ResidualMLP
from scoehr.sdes import RateModel, thin, thinning_loss, thinning_times
from scoehr.training import Schedule

HOPELESS = 1000  # records grown for one that is taken on condition


@dataclass(frozen=True)
class ThinningConfig(Settings):
    """Every choice of the model."""

    kind: Literal["count", "binary"] = "count"
    network: Literal["record"] = "record"
    width: int = 256
    depth: int = 2
    epochs: int = 60
    batch: int = 256
    rate: float = 2e-3
    schedule: Schedule = "cosine"
    clip: float = 10.0  # above the norms of all but a few batches: clipped gradients would pull rates off their means
    blur: float = 0.05  # of the lengths of the training records, relative to them
    ema: float = 0.999
    sampler: Literal["events", "births"] = "events"
    steps: int = 64  # of births, which leaps; events take none
    sample_batch: int = (
        4096  # grown together: when most are whole, few are left to fill the processor
    )


class Thinning(Generator):
    """Diffusion on the counts themselves.

    >>> model = Thinning().fit(matrix)                                # doctest: +SKIP
    >>> model.sample(1_000, seed=1).write("synthetic.parquet")        # doctest: +SKIP
    >>> model.sample(1_000, condition=["428"])                        # doctest: +SKIP

    On condition, every patient has the codes named, and the rest as patients with them have it. A label (sex, age
    group, outcome) is a code like any other.
    """

    name = "thinning"
    settings: ClassVar[type[Settings]] = ThinningConfig
    summary = "Thinning diffusion: records are grown from nothing, diagnosis by diagnosis."
    architecture = "residual MLP on patient vectors"
    output = "rate"
    samplers: ClassVar[dict[str, int | None]] = {"events": None, "births": 64}
    weights = ("rate.safetensors",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"thinning": {}}
    layers: ClassVar[type[ResidualMLP]] = RecordMLP
    config: ThinningConfig

    def __init__(self, config: ThinningConfig | None = None, device: str | None = None):
        super().__init__(config, device)
        self.rate: RateModel

    def _train(
        self,
        data: SparseRows,
        held_out: SparseRows | None,
        seed: int,
        folder: Path | None,
        progress: bool,
    ) -> list[dict[str, Any]]:
        rate = self.rate
        rate.learn_shares(data)

        def loss(x: Tensor, rng: torch.Generator) -> Tensor:
            level = thinning_times(len(x), rng)
            return thinning_loss(rate, x, thin(x.cpu(), level, rng).to(x), level.to(x)).mean()

        return self._learn("rate", rate, loss, data, held_out, seed, folder, progress)

    def _floats(self, n: int, n_codes: int) -> int:
        tables = 10 * RateModel.LEVELS * (RateModel.PRESENT + 1) * n_codes
        each = 16 * n_codes + 16 * self.config.depth * self.config.width
        return max(tables, min(n, self.config.batch) * each)

    @property
    def network(self) -> nn.Module:
        return self.rate.network

    def _build(self, vocabulary: CodeMatrix, seed: int) -> None:
        self.vocabulary = vocabulary.take(np.arange(0))
        n_codes = len(vocabulary.codes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.rate = RateModel(
                self.layers(n_codes, self.config.width, self.config.depth),
                n_codes,
                self.config.blur,
            )

    def _draw(self, size: int, sampler: str, steps: int, rng: torch.Generator) -> Tensor:
        return self._grow(torch.zeros(size, len(self.vocabulary.codes)), sampler, steps, rng)

    def _draw_given(
        self, given: Sequence[int], size: int, sampler: str, steps: int, rng: torch.Generator
    ) -> Tensor:
        """Records grown from one each of the codes ``given``, kept with probability 1 over the product of their counts.

        As a → 0, nothing but these survives of a record with a chance in proportion to that product: grown from them
        are records of patients drawn as often as they have the codes. Keeping so takes each patient once.
        """
        start = torch.zeros(1, len(self.vocabulary.codes))
        start[:, list(given)] = 1.0
        kept, drawn, spent = start[:0], 0, 0
        while missing := size - len(kept):
            if drawn > HOPELESS * max(size, 100):
                raise InputError(
                    f"of {drawn:,} records grown on condition {len(kept)} could be taken, since they have these "
                    "codes many times; give fewer codes"
                )
            many = min(size, math.ceil(missing * (drawn + 1) / (len(kept) + 1)))
            grown = self._grow(start.expand(many, -1), sampler, steps, rng)
            chance = 1 / grown[:, list(given)].prod(dim=1)
            taken = grown[torch.rand(many, generator=rng) < chance]
            kept = torch.cat([kept, taken])[:size]
            drawn, spent = drawn + many, spent + many * self.evaluations
            self.accepted, self.grown = self.accepted + len(taken), self.grown + many
        self.evaluations = round(spent / size)
        return kept

    def _learn_pairs(self, train_set: CodeMatrix) -> None:
        self.pairs = together(train_set.counts) if self.releases_data_facts else None

    def _check_given(self, given: Sequence[int]) -> None:
        if not given:
            return
        codes = [str(self.vocabulary.codes[place]) for place in given]
        if self.pairs is None:
            warn(
                f"this model does not know how many patients have {' and '.join(codes)} together, or whether any has"
            )
            return
        found = self.pairs[list(given)][:, list(given)].toarray()
        least = int(
            found[np.triu_indices(len(given))].min()
        )  # of three codes and more, pairs alone are known
        each = ", ".join(f"{code}: {n:,}" for code, n in zip(codes, found.diagonal(), strict=True))
        together = f"all of them: {'at most ' if len(given) > 2 and least else ''}{least:,}"
        self.having = f"of {self.patients:,} training patients have {each}; {together}"
        if not least:
            raise InputError(f"{self.having}; give codes that patients have together")

    def _grow(self, start: Tensor, sampler: str, steps: int, rng: torch.Generator) -> Tensor:
        """Whole records from ``start`` ``(B, n_codes)``."""
        if sampler not in ("events", "births"):
            raise InputError(
                f"sampler {sampler!r} does not suit thinning; it has 'events' and 'births'"
            )
        if sampler == "events" and steps != self.config.steps:
            raise InputError(
                "sampler 'events' draws birth by birth and takes no steps; name sampler 'births' with them"
            )
        how: dict[str, Any] = {"device": self.device, "rng": rng}
        rate = self.rate.eval().to(self.device)
        if sampler == "births":
            self.evaluations = steps
            binary, parts = self.config.kind == "binary", start.split(sampling.TOGETHER)
            return torch.cat(
                [sampling.births(rate, part, steps, binary=binary, **how) for part in parts]
            )
        grown, evaluations = sampling.events(rate, start, **how)
        self.evaluations = round(evaluations)
        return grown

    def decode(self, latents: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """The end points are whole counts already."""
        return latents

    def _weights(self) -> Weights:
        return {"rate.safetensors": self.rate.state_dict()}

    def _take(self, weights: Weights) -> None:
        self.rate.load_state_dict(weights["rate.safetensors"])
        self.rate.tabulate()


def together(counts: sparse.csr_array) -> sparse.csr_array:
    """How many rows of ``counts`` ``(n, n_codes)`` have two codes, ``(n_codes, n_codes)``, the upper triangle."""
    present = sparse.csr_array(counts > 0, dtype=np.int32)
    return sparse.csr_array(sparse.triu(present.T @ present))
