"""Diffusion of whole patients: the codes of a visit are thinned, its columns forgotten, one network
restores both.

A record is one visit of a patient: counts of codes x in ℕ^J, and columns c, each with one of K
values (:mod:`scoehr.columns`); what is the patient's (sex) counts as columns of the first visit and
is known at later ones. Forward, an occurrence of a code survives to level a with probability a, a
column's value is known to level b with probability b, all independently. The network learns at all
pairs (a, b), drawn independently, how many more of each code the record has, E[x₁ - x_a | x_a,
known columns, past], and P(c_k | x_a, known columns, past). So any part of a record can be given
and the rest be drawn, along any path of (a, b): which columns are hidden says nothing about them,
and of the codes nothing is said at a = 0. Along every path the losses add up to a bound on the
negative log-likelihood.

How many codes the record has is a column too, and so is whether another visit follows. Once it is
known the number of codes to come is certain, and the level a carries no information: all parts of a
size are equally likely. So codes are drawn one by one, each by one evaluation, and no length is
ever blurred. The past (columns and codes of the last visit, how many visits recorded each code) is
given to the network; the next visit is a record like the first.

Chen & Zhou (2023), Learning to Jump, ICML. Hoogeboom et al. (2022), Autoregressive Diffusion
Models, ICLR. Theodorou, Xiao & Sun (2023), HALO, Nature Communications 14:5305, for visit by visit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from scoehr.columns import Layout, hide, log_moves, log_shares, masked_loss
from scoehr.models import FactMLP, Past
from scoehr.thinning import (
    MAX_LEVEL,
    RateModel,
    draw_codes,
    thin,
    thinning_bound,
    thinning_levels,
)

__all__ = ["FOLLOWED", "SIZE", "VISITED", "Draw", "FactModel", "Rows"]

#: Columns that are made from the record: how many codes, if another visit follows, if there is one.
SIZE, FOLLOWED, VISITED = "(codes)", "(followed)", "(visited)"
#: Of 16 rows of a batch: all codes are hidden; all columns are known; codes are at any level, or
#: whole, and columns hidden or not; one or two codes are known, as where a condition begins.
PARTS = (*["columns"] * 6, *["codes"] * 5, "any", "whole", *["begun"] * 3)


class Rows(NamedTuple):
    """The parts of B rows ``(B, width)`` that training reads."""

    x: Tensor  # (B, n_codes) counts
    values: Tensor  # (B, n_values) columns as zeros and ones
    past: Past | None

    @classmethod
    def split(cls, rows: Tensor, n_codes: int, n_values: int) -> Rows:
        """Counts, values, and where rows go on: often, last, last values, number."""
        sizes = [n_codes, n_values, n_codes, n_codes, n_values, 1]
        if rows.shape[1] == n_codes + n_values:
            return cls(rows[:, :n_codes], rows[:, n_codes:], None)
        x, values, often, last, before, number = rows.split(sizes, dim=1)
        return cls(x, values, Past(often, last, before, number[:, 0]))


class FactModel(RateModel):
    """The rates of a :class:`~scoehr.thinning.RateModel`, and the shares of columns' values.

    Without columns it is one, bit for bit.

    Args:
        layout: of the columns; one is :data:`SIZE`.
        past: whether patients have several visits.
    """

    shares: Tensor  # (n_values,) log shares at first visits, to which the network adds
    moves: Tensor  # (n_values, n_values) log shares after each value of the last visit

    def __init__(
        self,
        network: FactMLP,
        n_codes: int,
        layout: Layout,
        past: bool,
        blur: float,
        supported: bool = False,
    ):
        super().__init__(network, n_codes, blur, supported)
        self.n_codes, self.layout, self.has_past = n_codes, layout, past
        self.shape = (n_codes, layout.n_values)
        self.size, self.visited = layout.find(SIZE), layout.find(VISITED)
        if layout.n_values:
            self.register_buffer("shares", torch.zeros(layout.n_values))
        if past:
            self.register_buffer("moves", torch.zeros(layout.n_values, layout.n_values))

    def fit_columns(self, first: Tensor, pairs: Tensor | None) -> None:
        """Set the shares from values of first visits ``(n_values,)`` and successive pairs."""
        self.shares.copy_(log_shares(first, self.layout))
        if pairs is not None:
            self.moves.copy_(log_moves(pairs, self.layout))

    # Loss -----------------------------------------------------------------------------------------

    def loss(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Mean loss of rows (:class:`Rows`) at random levels: one value.

        Most rows are on the two parts of the path that sampling takes: no codes and some columns;
        all columns and some codes. Others are where conditions and partial records are.
        """
        if not len(self.layout):
            return super().loss(x, rng)
        part = torch.randperm(len(x), generator=rng) % len(PARTS)
        begun = (part >= PARTS.index("begun")).nonzero()[:, 0]
        chosen, start = begin(x[:, : self.n_codes].cpu(), len(begun), rng)
        rows = Rows.split(x.index_copy(0, begun.to(x.device), x[chosen.to(x.device)]), *self.shape)
        level, known, weight = self._forget(rows, part, rng)
        thinned = thin(rows.x.cpu(), level, rng).index_copy_(0, begun, start).to(x)
        level, known, weight = (tensor.to(x.device) for tensor in (level, known, weight))
        column = self.layout.column.to(x.device)
        size = torch.where(known[:, self.size], rows.x.sum(dim=1), -1.0)
        encoding, left = self.look(thinned, level, rows.values * known[:, column], size, rows.past)
        log_rates = self.log_rates(thinned, level, encoding, left)
        bound = thinning_bound(log_rates, rows.x, thinned, level)
        logits = self.value_logits(encoding[0], rows.past)
        hidden = masked_loss(logits, rows.values, ~known, column) * weight
        is_visit = rows.values[:, self.layout.span(self.size)].sum(dim=1)
        return (bound * is_visit + hidden).mean()

    def _forget(
        self, rows: Rows, part: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Levels ``(B,)``, which columns are known ``(B, n_columns)`` and weights ``(B,)``.

        Whether there is a visit is known where any column of it is, as in sampling.
        """
        n = len(part)
        later = rows.past.number.cpu() > 0 if rows.past else torch.zeros(n, dtype=torch.bool)
        known, weight = hide(later[:, None] & self.layout.of_patient, rng)
        known |= (part == PARTS.index("codes"))[:, None]
        if self.visited >= 0:
            known[:, self.visited] |= (known & ~self.layout.of_patient).any(dim=1)
        level = thinning_levels(n, rng).masked_fill(part == PARTS.index("whole"), MAX_LEVEL)
        none = (part == PARTS.index("columns")) | (part >= PARTS.index("begun"))
        return level.masked_fill(none, 0.0), known, weight

    # What the network says ------------------------------------------------------------------------

    def look(
        self, x: Tensor, level: Tensor, values: Tensor, size: Tensor, past: Past | None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The encoding of records, and how many codes are to come ``(B,)``, -1 where unknown.

        Args:
            x, level: thinned counts ``(B, n_codes)`` and their levels ``(B,)``.
            values: known columns ``(B, n_values)`` as zeros and ones.
            size: number of codes of the whole record ``(B,)``, -1 where unknown.
        """
        h, context = self.network.project(torch.log1p(x), 1000 * (1 - level))
        h = h + self.network.values(values)
        if past is not None:
            h = h + self.network.remember(past)
        left = torch.where(size >= 0, size - x.sum(dim=1), -1.0)
        context = self.network.with_left(context, left)
        beside = () if past is None else (past.often, past.last)
        return (self.network.deepen(h, context), context, *beside), left

    def log_rates(
        self, x: Tensor, level: Tensor, encoding: tuple[Tensor, ...], left: Tensor
    ) -> Tensor:
        """Log of how many more of each code there are ``(B, n_codes)``, ``left`` in all if known.

        Of a code at most r more can come, the most of any training patient has it less those that
        are there: the mean is r p, as of a binomial count. The log odds of all p are shifted
        together until the means add up, so that a certain code is certain among many or few.
        """
        known = left.clamp(min=1e-6).log()
        total = torch.where(left >= 0, known, self.log_total(x, level, encoding))
        most = (self.max_count - x).clamp(min=1e-6)
        log = self._marginal(x, level) + self.network.codes(torch.log1p(x), *encoding) - most.log()
        log = log.masked_fill(x >= self.max_count, self.IMPOSSIBLE)
        means = nn.functional.logsigmoid(log + shift(log, most, total)) + most.log()
        return torch.log_softmax(means, dim=1) + total[:, None]

    def value_logits(self, h: Tensor, past: Past | None) -> Tensor:
        """Logits ``(B, n_values)`` of each column's values."""
        return self.network.value_head(h) + self.average(past, len(h))

    def average(self, past: Past | None, n: int) -> Tensor:
        """Log shares ``(n, n_values)`` to which the network adds."""
        if past is None:
            return self.shares.expand(n, -1)
        return torch.where(past.number[:, None] > 0, past.values @ self.moves, self.shares)

    # Samplers -------------------------------------------------------------------------------------

    @torch.no_grad()
    def draw_columns(
        self, x: Tensor, places: Tensor, size: Tensor, past: Past | None, how: Draw
    ) -> None:
        """Fill the places ``(B, n_columns)`` that are -1 and not ``how.absent``, one by one.

        ``x`` ``(B, n_codes)`` are some of the codes, of ``size`` ``(B,)`` in all, -1 where unknown;
        it is filled in with its column. Nothing else is known of the codes.
        """
        level = expected_level(x, size)
        h, context = self.network.project(torch.log1p(x), 1000 * (1 - level))
        h = h + self.network.values(self.layout.one_hot(places))
        if past is not None:
            h = h + self.network.remember(past)
        average, head = self.average(past, len(x)), self.network.value_head
        for column in how.order:
            rows = ((places[:, column] < 0) & ~how.absent[:, column]).nonzero()[:, 0]
            if not len(rows):
                continue
            left = torch.where(size[rows] >= 0, size[rows] - x[rows].sum(dim=1), -1.0)
            read = self.network.deepen(h[rows], self.network.with_left(context[rows], left))
            span = self.layout.span(column)
            logits = nn.functional.linear(read, head.weight[span], head.bias[span])
            logits = (logits + average[rows, span]).masked_fill(how.barred[span], -torch.inf)
            drawn = torch.multinomial(logits.softmax(dim=1), 1, generator=how.rng)[:, 0]
            places[rows, column] = drawn
            h[rows] += self.network.values.weight.T[span.start + drawn]
            if column == self.size:
                size[rows] = self._sizes(drawn, x[rows].sum(dim=1), how.rng)

    def _sizes(self, places: Tensor, there: Tensor, rng: torch.Generator) -> Tensor:
        """Numbers of codes ``(B,)`` of places of the size, no fewer than are there."""
        sizes = torch.from_numpy(self.layout.codings[self.size].numbers(places.numpy(), rng))
        return sizes.float().clamp(max=float(self.max_count.sum())).maximum(there)

    @torch.no_grad()
    def grow(
        self, x: Tensor, places: Tensor, size: Tensor, past: Past | None, rng: torch.Generator
    ) -> Tensor:
        """Add codes to ``x`` ``(B, n_codes)``, one by one, until there are ``size`` ``(B,)``."""
        x, values = x.clone(), self.layout.one_hot(places)
        while len(rows := (size > x.sum(dim=1)).nonzero()[:, 0]):
            there, before = x[rows], None if past is None else Past(*(part[rows] for part in past))
            level = expected_level(there, size[rows])
            encoding, left = self.look(there, level, values[rows], size[rows], before)
            running = self.log_rates(there, level, encoding, left).double().exp().cumsum(dim=1)
            x[rows, draw_codes(running, rng)] += 1
        return x


def begin(x: Tensor, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """``n`` of the records ``x`` ``(B, n_codes)`` with one or two occurrences each, as a → 0.

    That r occurrences are left of m, and no more, is likely in proportion to C(m, r): so often a
    record is chosen, and then r of its occurrences. Returns rows ``(n,)`` and codes ``(n,
    n_codes)``, none where no record has any.
    """
    size, start = x.sum(dim=1), torch.zeros(n, x.shape[1])
    two = torch.arange(n) % 3 == 0
    pairs = size * (size - 1) / 2
    weights = torch.where(two[:, None] & (pairs.sum() > 0), pairs, size)  # (n, B)
    if not n or not bool(size.sum() > 0):
        return torch.arange(n), start
    rows = torch.multinomial(weights, 1, generator=rng)[:, 0]
    for often in (torch.ones(n, dtype=torch.bool), two & (pairs.sum() > 0)):
        left = (x[rows] - start)[often]
        if len(left):
            drawn = torch.multinomial(left, 1, generator=rng)
            start[often] = start[often].scatter_add(1, drawn, torch.ones(len(left), 1))
    return rows, start


def shift(log: Tensor, most: Tensor, log_total: Tensor, rounds: int = 5) -> Tensor:
    """Shift ``(B, 1)`` of log odds ``(B, n)`` after which means of ``most`` add up to a total.

    By Newton's method on the log of the sum, from where all odds were small; the last round is
    differentiated, which gives the gradient of the solution.
    """
    with torch.no_grad():
        largest = 0.999 * most.sum(dim=1, keepdim=True)
        wanted = log_total[:, None].exp().minimum(largest).clamp(min=1e-6).log()
        found = wanted - (log + most.log()).logsumexp(dim=1, keepdim=True)
        for _ in range(rounds):
            error, slope = _error(log + found, most, wanted)
            found = found - (error / slope).clamp(-3, 3)
    error, slope = _error(log + found, most, wanted)
    return found - (error / slope.detach()).clamp(-3, 3)


def _error(log: Tensor, most: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """How far the log of the sum of means is off ``(B, 1)``, and its slope."""
    chance = torch.sigmoid(log)
    mean = (most * chance).sum(dim=1, keepdim=True).clamp(min=1e-9)
    slope = (most * chance * (1 - chance)).sum(dim=1, keepdim=True) / mean
    return mean.log() - wanted, slope.clamp(min=0.05)


def expected_level(x: Tensor, size: Tensor) -> Tensor:
    """A level ``(B,)`` at which so many of ``size`` codes survive; 0 where the size is unknown."""
    return torch.where(size >= 0, (x.sum(dim=1) + 1) / (size + 2), 0.0).clamp(max=MAX_LEVEL)


class Draw(NamedTuple):
    """How columns are drawn."""

    order: list[int]  # of the columns
    absent: Tensor  # (B, n_columns) columns that a record does not have
    barred: Tensor  # (n_values,) values that are not drawn
    rng: torch.Generator
