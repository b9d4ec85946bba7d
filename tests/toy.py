"""A toy hospital whose law is known: Zipf prevalence, latent phenotypes, gamma visit intensity, Poisson counts."""

from __future__ import annotations

import numpy as np
from scipy import sparse

CODES = 1071
PHENOTYPES = 40
MEAN_CELL = 0.0130


class Toy:
    """Patients are drawn as counts ~ Poisson(intensity * (background + mixture of two phenotypes))."""

    def __init__(self, codes: int = CODES, phenotypes: int = PHENOTYPES, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        zipf = 1 / (np.arange(codes) + 12.0)
        affinity = rng.gamma(0.3, size=(phenotypes, codes))
        rates = zipf * (0.35 + affinity)
        self.rates = rates / rates.sum(axis=1, keepdims=True)  # (phenotypes, codes): each row a profile
        self.weights = rng.dirichlet(np.full(phenotypes, 2.0))
        self.total = MEAN_CELL * codes

    def sample(self, n: int, seed: int) -> sparse.csr_array:
        """``n`` patients as a CSR array of counts, float32."""
        rng = np.random.default_rng([1, seed])
        first, second = rng.choice(len(self.weights), size=(2, n), p=self.weights)
        mixture = rng.beta(2.0, 1.0, size=(n, 1))
        intensity = self.total * rng.gamma(1.4, 1 / 1.4, size=(n, 1))
        rates = intensity * (mixture * self.rates[first] + (1 - mixture) * self.rates[second])
        return sparse.csr_array(rng.poisson(rates).astype(np.float32))
