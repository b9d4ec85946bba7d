"""Columns beside the codes: how values are coded, and how hidden ones are restored one by one.

A column has one of K values: a category, or a number cut into bins (:class:`Coding`). Forward, its
value is forgotten with probability 1 - b, independently of the others: masked, or absorbing,
diffusion. What a network has to learn is P(value | what is still known), whatever b is. Together
with the thinning of codes (:mod:`scoehr.thinning`) every fact about a patient is forgotten on its
own, so that any part can be given and the rest be restored.

Hoogeboom et al. (2022), Autoregressive Diffusion Models, ICLR, for the loss over all orders. Shi et
al. (2024), Simplified and Generalized Masked Diffusion for Discrete Data, NeurIPS; Sahoo et al.
(2024), Simple and Effective Masked Diffusion Language Models, NeurIPS, for masking as diffusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from scoehr.data.columns import Column
from scoehr.files import InputError

__all__ = ["Coding", "Layout", "hide", "masked_loss"]

EXACT = 64  # different numbers up to which each is a value of its own; else so are those as common
BINS, KNOTS = 32, 9  # bins of the other numbers, and quantiles kept in each
PRIOR = 5.0  # observations that the prior of a share counts for
IMPOSSIBLE = -30.0  # log share of a value that no training patient has

# Coding -------------------------------------------------------------------------------------------

Per = Literal["patient", "visit", "derived"]


@dataclass(frozen=True)
class Coding:
    """How the values of a column become places 0 … K - 1, the last for missing ones, if any.

    Attributes:
        name: of the column.
        per: whose it is, a patient's or a visit's; "derived" ones are made from the record.
        kind: category, ordered or number.
        labels: of categories, in order; empty for numbers.
        knots: of numbers, a row a place: rising numbers, between which a value is drawn. A number
            that is a value of its own is repeated.
        digits: decimals of the numbers.
        missing: whether there is a place for missing values.
    """

    name: str
    per: Per
    kind: Literal["category", "ordered", "number"]
    labels: tuple[str, ...] = ()
    knots: tuple[tuple[float, ...], ...] = ()
    digits: int = 0
    missing: bool = False

    def __post_init__(self) -> None:
        numbers = np.array([number for row in self.knots for number in row])
        sound = (
            {*map(len, self.knots)} <= {KNOTS}
            and np.isfinite(numbers).all()
            and (np.diff(numbers.reshape(-1, KNOTS)) >= 0).all()
            and type(self.missing) is bool
            and self.digits in range(7)
        )
        if not sound or (self.knots and self.labels):
            raise InputError(f"column {self.name}: its coding is damaged; fit the model again")

    def __len__(self) -> int:
        return len(self.labels) + len(self.knots) + self.missing

    @property
    def is_number(self) -> bool:
        """Whether values are numbers."""
        return self.kind == "number"

    @classmethod
    def of_numbers(cls, name: str, per: Per, values: np.ndarray, *, missing: bool) -> Coding:
        """The coding of numbers ``(n,)``, which may be nan."""
        values = values[np.isfinite(values)]
        digits = next((d for d in range(6) if np.array_equal(values.round(d), values)), 6)
        numbers, often = np.unique(values, return_counts=True)
        alone = np.full(len(numbers), len(numbers) <= EXACT) | (often >= len(values) / EXACT)
        spikes = [(float(number),) * KNOTS for number in numbers[alone]]
        bins = _bins(numbers[~alone], often[~alone], 10.0**-digits) if not alone.all() else []
        knots = tuple(sorted(spikes + bins))
        return cls(name, per, "number", knots=knots, digits=digits, missing=missing)

    def check_kind(self, column: Column) -> None:
        """InputError if a column of this name holds numbers for categories, or the reverse."""
        if self.is_number != (column.kind == "number"):
            raise InputError(f"column {self.name}: is {column.kind}, for the model {self.kind}")

    def check_levels(self, column: Column) -> None:
        """InputError for a column that is not of this kind or has a level that is none here."""
        self.check_kind(column)
        strange = next((level for level in column.levels if level not in self.labels), None)
        if strange is not None:
            raise InputError(f"{self.name}={strange}: {self._no_value()}")

    def places(self, values: np.ndarray) -> np.ndarray:
        """Places of numbers ``(n,)``; missing ones where the coding has none are -1."""
        knots = np.array(self.knots).reshape(-1, KNOTS)
        if not len(knots):
            return np.where(np.isnan(values), len(knots) if self.missing else -1, -1)
        found = np.searchsorted(knots[:, -1], values).clip(max=len(knots) - 1)
        spikes = np.flatnonzero(knots[:, 0] == knots[:, -1])
        if len(spikes) and len(spikes) < len(knots):
            nearest = np.searchsorted(knots[spikes, 0], values).clip(max=len(spikes) - 1)
            same = knots[spikes[nearest], 0] == values
            bins = np.setdiff1d(np.arange(len(knots)), spikes)
            inside = np.searchsorted(knots[bins, -1], values).clip(max=len(bins) - 1)
            found = np.where(same, spikes[nearest], bins[inside])
        return np.where(np.isnan(values), len(knots) if self.missing else -1, found)

    def numbers(self, places: np.ndarray, rng: torch.Generator) -> np.ndarray:
        """A number ``(n,)`` drawn for each place; nan for missing."""
        knots = np.array([*self.knots, (np.nan,) * KNOTS])
        at = torch.rand(len(places), generator=rng, dtype=torch.float64).numpy() * (KNOTS - 1)
        below = at.astype(int)
        rows = knots[np.where(places < 0, len(knots) - 1, places)]
        each = np.arange(len(rows))
        low, high = rows[each, below], rows[each, below + 1]
        return (low + (at - below) * (high - low)).round(self.digits) + 0.0

    def place_of(self, text: str) -> int:
        """The place of a value as a person writes it; :class:`InputError` if there is none."""
        if text == "" and self.missing:
            return len(self) - 1
        if text in self.labels:
            return self.labels.index(text)
        if self.is_number:
            try:
                place = int(self.places(np.array([float(text)]))[0])
            except ValueError:
                raise InputError(f"{self.name}={text}: {self.name} takes numbers") from None
            if place >= 0 and self.knots[place][0] <= float(text) <= self.knots[place][-1]:
                return place
        raise InputError(f"{self.name}={text}: {self._no_value()}")

    def _no_value(self) -> str:
        known = self.labels
        if self.is_number and all(row[0] == row[-1] for row in self.knots):
            known = tuple(f"{row[0]:g}" for row in self.knots)
        elif self.is_number:
            known = (f"numbers from {self.knots[0][0]:g} to {self.knots[-1][-1]:g}",)
        shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        return f"no such value; {self.name} has {shown}"


def _bins(numbers: np.ndarray, often: np.ndarray, step: float) -> list[tuple[float, ...]]:
    """Quantiles ``KNOTS`` in each of :data:`BINS` bins of numbers that occur so often.

    Equal numbers are spread evenly over the ``step`` to which numbers are rounded.
    """
    middle = (np.cumsum(often) - often / 2) / often.sum()
    bin_of = np.minimum((middle * BINS).astype(int), BINS - 1)
    found = []
    for chosen in np.unique(bin_of):
        inside = bin_of == chosen
        edges = np.concatenate([[0], np.cumsum(often[inside])]) / often[inside].sum()
        low, high = (numbers[inside] + side * step / 2 for side in (-1, 1))
        at = np.linspace(0, 1, KNOTS)
        place = np.searchsorted(edges, at, side="right").clip(1, inside.sum()) - 1
        part = (at - edges[place]) / (edges[place + 1] - edges[place])
        found.append(tuple(float(v) for v in low[place] + part * (high - low)[place]))
    return found


class Layout:
    """Where the values of several columns stand in one row of zeros and ones ``(n_values,)``."""

    def __init__(self, codings: Sequence[Coding]):
        self.codings = tuple(codings)
        sizes = [len(coding) for coding in codings]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        #: The column of each value, (n_values,).
        self.column = torch.from_numpy(np.repeat(np.arange(len(sizes)), np.array(sizes, dtype=int)))
        #: Which columns are a patient's, (n_columns,).
        of_patient = [coding.per == "patient" for coding in codings]
        self.of_patient = torch.from_numpy(np.array(of_patient, dtype=bool))

    def __len__(self) -> int:
        return len(self.codings)

    @property
    def n_values(self) -> int:
        """Of all columns together."""
        return int(self.starts[-1])

    def span(self, column: int) -> slice:
        """The values of a column."""
        return slice(int(self.starts[column]), int(self.starts[column + 1]))

    def find(self, name: str) -> int:
        """A column by name; -1 if there is none."""
        return next((k for k, coding in enumerate(self.codings) if coding.name == name), -1)

    def one_hot(self, places: Tensor) -> Tensor:
        """Zeros and ones ``(B, n_values)`` of places ``(B, n_columns)``, -1 for nothing."""
        rows, columns = (places >= 0).nonzero(as_tuple=True)
        found = torch.zeros(len(places), self.n_values)
        found[rows, places[rows, columns] + torch.from_numpy(self.starts)[columns]] = 1.0
        return found


# Process and loss ---------------------------------------------------------------------------------


def hide(fixed: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which columns stay known, of ``fixed`` ``(B, n_columns)`` that always are.

    How many stay is uniform from none to all but one of the others. Returns a mask ``(B,
    n_columns)`` and the weight ``(B,)`` by which the loss of the hidden columns, summed, is an
    unbiased bound on the negative log-likelihood of all (Hoogeboom et al. 2022, eq. 9).
    """
    n, columns = fixed.shape
    order = torch.rand(n, columns, generator=rng).masked_fill(fixed, -1.0)
    rank = order.argsort(dim=1).argsort(dim=1)
    certain = fixed.sum(dim=1)
    free = (columns - certain).clamp(min=1)
    cells = (torch.randperm(n, generator=rng) + torch.rand(n, generator=rng)) / n
    kept = (cells * free).long().minimum(free - 1)
    return rank < (certain + kept)[:, None], free / (free - kept)


def masked_loss(logits: Tensor, truth: Tensor, hidden: Tensor, column: Tensor) -> Tensor:
    """Cross-entropy ``(B,)`` of the hidden columns, summed.

    ``logits`` and ``truth`` (zeros and ones; none where a row lacks the column) are ``(B,
    n_values)``, ``hidden`` ``(B, n_columns)``, ``column`` ``(n_values,)``.
    """
    top = logits.detach().amax(dim=1, keepdim=True)
    none = torch.zeros(len(logits), hidden.shape[1]).to(logits)
    total = none.index_add(1, column, (logits - top).clamp(min=-80).exp()).log() + top
    own = none.index_add(1, column, logits * truth)
    there = none.index_add(1, column, truth) * hidden
    return ((total - own) * there).sum(dim=1)


def log_shares(values: Tensor, layout: Layout) -> Tensor:
    """Log shares ``(n_values,)`` of each column's values among rows of zeros and ones."""
    often = values.double()
    total = torch.zeros(len(layout), dtype=often.dtype).index_add(0, layout.column, often)
    shares = often / total.clamp(min=1e-9)[layout.column]
    return shares.log().clamp(min=IMPOSSIBLE).float()


def log_moves(pairs: Tensor, layout: Layout) -> Tensor:
    """Log shares ``(n_values, n_values)`` of a column's values after each value of the same column.

    ``pairs`` counts successive visits. Shares are shrunk towards those after any value; between
    different columns there is nothing to say, so 0.
    """
    own = layout.column[:, None] == layout.column
    pairs = torch.where(own, pairs.double(), 0.0)
    often = pairs.sum(dim=0)
    total = torch.zeros(len(layout), dtype=often.dtype).index_add(0, layout.column, often)
    overall = often / total.clamp(min=1e-9)[layout.column]
    moves = (pairs + PRIOR * overall) / (pairs.sum(dim=1, keepdim=True) + PRIOR)
    return torch.where(own, moves.log().clamp(min=IMPOSSIBLE), 0.0).float()
