"""A toy hospital whose law is known, and nine synthetic sets of which one knows what is wrong with each.

1,071 codes with Zipf prevalence, 40 latent phenotypes, gamma visit intensity, Poisson counts, mean cell .0130.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse

from scoehr.metrics import METRICS
from scoehr.metrics.registry import Pair

CODES = 1071
PHENOTYPES = 40
MEAN_CELL = 0.0130
SECOND = 0.3  # share of the counts that a second phenotype brings, with a long tail of heavy users


class Toy:
    """count ~ Poisson(total * (0.7 gamma(2) rates[phenotype] + 0.3 gamma(0.1) rates[another])), gammas of mean 1."""

    def __init__(self, codes: int = CODES, mean_cell: float = MEAN_CELL, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        rates = np.tile(1 / (np.arange(codes) + 6.0), (PHENOTYPES, 1))  # Zipf
        for phenotype in rates:
            phenotype[rng.choice(codes, max(1, codes * 30 // CODES), replace=False)] *= 11
        self.rates = rates / rates.sum(axis=1, keepdims=True)  # (phenotypes, codes)
        self.weights = rng.dirichlet(np.full(PHENOTYPES, 2.0))
        self.total = mean_cell * codes

    def sample(self, n: int, seed: int) -> sparse.csr_array:
        """``n`` patients: CSR array of counts, (n, codes)."""
        rng = np.random.default_rng([1, seed])
        first, second = rng.choice(PHENOTYPES, size=(2, n), p=self.weights)
        often, heavy = (rng.gamma(shape, 1 / shape, size=(n, 1)) for shape in (2.0, 0.1))
        rates = (1 - SECOND) * often * self.rates[first] + SECOND * heavy * self.rates[second]
        return sparse.csr_array(rng.poisson(self.total * rates).astype(float))

    @cached_property
    def mean(self) -> np.ndarray:
        """The true mean count of each code, (codes,)."""
        return self.total * self.weights @ self.rates


class Conditions:
    """Real test rows, training rows, and the synthetic sets A to I, each of ``n`` patients."""

    def __init__(self, n: int, seed: int = 0) -> None:
        toy = Toy()
        self.seed = seed
        self.real, self.train, self.fresh = (toy.sample(n, 10 * seed + k) for k in range(3))

    def rng(self, name: str) -> np.random.Generator:
        """One stream a condition, so that a set does not depend on which others were made."""
        return np.random.default_rng([2, self.seed, ord(name)])

    def __getitem__(self, name: str) -> sparse.csr_array:
        return getattr(self, name)

    @cached_property
    def A(self) -> sparse.csr_array:
        """An independent sample of real patients."""
        return self.fresh

    @cached_property
    def B(self) -> sparse.csr_array:
        """The real rows in another order."""
        return self.real[self.rng("B").permutation(self.real.shape[0])]

    @cached_property
    def C(self) -> sparse.csr_array:
        """The real rows in the same order."""
        return self.real

    @cached_property
    def D(self) -> sparse.csr_array:
        """No codes at all."""
        return sparse.csr_array(self.real.shape)

    @cached_property
    def E(self) -> sparse.csr_array:
        """Independent columns: those of A, each shuffled on its own."""
        return sparse.csr_array(self.rng("E").permuted(self.fresh.toarray(), axis=0))

    @cached_property
    def F(self) -> sparse.csr_array:
        """A with each count thinned to 64 %."""
        return sparse.csr_array(
            self.rng("F").binomial(self.fresh.toarray().astype(int), 0.64).astype(float)
        )

    @cached_property
    def G(self) -> sparse.csr_array:
        """A without the 350 codes that are rarest among the real patients."""
        kept = np.ones(CODES)
        kept[np.argsort((self.real > 0).sum(axis=0), kind="stable")[:350]] = 0
        return sparse.csr_array(self.fresh @ sparse.diags_array(kept))

    @cached_property
    def H(self) -> sparse.csr_array:
        """The training rows, copied."""
        return self.train

    @cached_property
    def I(self) -> sparse.csr_array:  # noqa: E743
        """A diverged model: every cell large, mean count 51."""
        rng = self.rng("I")
        factors = rng.normal(size=(self.real.shape[0], 8)) @ rng.normal(size=(8, CODES))
        return sparse.csr_array(np.round(np.abs(factors) * 51 / np.abs(factors).mean()))


def marginal(real: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """All scores of the step "marginals", {name: value}."""
    pair, found = Pair(real, synthetic), {}
    for measure in METRICS.steps["marginals"]:
        found |= measure.of_sets(*measure.of(pair))
    return {key.removeprefix("fidelity."): value for key, value in found.items()}
