"""The worst of several attacks on each stay, for changes of few cells, in the manner of AutoAttack.

AutoAttack (Croce & Hein 2020, ICML) judges a model by the worst case over attacks that differ in
kind. Here they are:

* ``proximal``: the attack of :mod:`companions.mortality_attack.attack` for several penalties and
  from random starts, without early stop (elastic-net attack, Chen et al. 2018, AAAI);
* ``sparse``: projected gradient steps onto changes of at most k cells, for each budget k
  (Croce & Hein 2019, ICCV);
* ``random``: a search without gradients that exchanges cells at random and keeps what lowers the
  margin (Sparse-RS, Croce et al. 2022, AAAI).

Each change looked at is kept if it turns the verdict with a smaller L1 norm, or with fewer cells,
than those before. What was kept is then made smaller as long as the verdict stays turned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from companions.mortality_attack.attack import (
    AttackConfig,
    Attacked,
    Problem,
    ProximalAttack,
    frozen,
    gathered,
    posed,
    problems,
)
from companions.mortality_attack.models import Classifier
from companions.mortality_attack.protocol import Series, Statistics
from companions.mortality_attack.train import device, nearest, top
from scoehr.generators.settings import Settings

#: Cells that may be changed, the budgets of the curves.
CELLS = (1, 2, 3, 5, 8, 10, 12, 20, 32, 48)
#: Halvings when a change is made smaller, and the share of cells that a random start changes.
HALVINGS, STARTED = 12, 0.05
#: Long and short steps of the proximal attack, as shares of that of the base.
LONG, SHORT = 5.0, 0.2


@dataclass(frozen=True)
class EnsembleConfig(Settings):
    """How hard the members try.

    ``penalties``: of the proximal attack beside that of its settings; ``restarts``: random starts
    of the proximal and the sparse attack; ``sparse_steps`` and ``queries``: steps of the sparse
    attack and of the random search at a budget; ``cells``: the budgets.
    """

    penalties: tuple[float, ...] = (0.3, 0.03, 0.01)
    restarts: int = 1
    sparse_steps: int = 40
    queries: int = 100
    cells: tuple[int, ...] = CELLS


@dataclass(frozen=True)
class Strongest(Attacked):
    """What became of each stay under the worst of the members.

    ``best`` has the least L1 norm, ``sparsest`` ``(n, 48, F)`` the fewest cells; ``first`` and the
    steps are those of the proximal attack with its own penalty, without early stop.
    """

    sparsest: np.ndarray

    @property
    def needed(self) -> np.ndarray:
        """Fewest cells that turned the verdict, ``(n,)``, infinite where no member did."""
        return np.where(self.success, (self.sparsest != 0).sum((1, 2)), np.inf)


def strongest(
    model: Classifier,
    series: Series,
    statistics: Statistics,
    base: AttackConfig,
    config: EnsembleConfig,
    *,
    seed: int = 0,
    progress: bool = True,
    name: str = "attack",
) -> Strongest:
    """Attack every stay that the model has right with all members.

    Raises:
        RuntimeError: a weight of the model is not what it was.
    """
    generator = torch.Generator().manual_seed(seed)
    parts, records = [], []
    with frozen(model):
        rows, verdict, problems = posed(model, series, statistics, base)
        with tqdm(total=len(rows), desc=name, disable=not progress or None) as bar:
            for problem in problems:
                record = Record(problem)
                parts.append(_proximal(record, base, config, generator))
                _few_cells(record, config, generator)
                _refine(record, base, config)
                records.append(record)
                bar.update(len(problem))
    found = gathered(rows, verdict, parts, series.values.shape[1:])
    return _joined(found, records)


def _joined(base: Attacked, records: list[Record]) -> Strongest:
    """The attack of the base with what the records kept in place of its best changes."""
    if not records:
        return Strongest(**vars(base), sparsest=base.best)
    best, sparsest = (
        torch.cat([getattr(record, name) for record in records]).cpu().numpy()
        for name in ("best", "sparsest")
    )
    found = vars(base) | {"best": best, "success": best.any((1, 2))}
    return Strongest(**found, sparsest=sparsest)


class Record:
    """The smallest and the sparsest successful change of each stay of a problem."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.l1 = torch.full_like(problem.sign, torch.inf)
        self.cells = self.l1.clone()
        self.best, self.sparsest = (torch.zeros_like(problem.values) for _ in range(2))

    def look(self, change: Tensor, margin: Tensor, place: Tensor | None = None) -> None:
        """Keep what turned; ``place``: which stays these are, all if left out."""
        place = torch.arange(len(self.l1), device=change.device) if place is None else place
        turned = margin < 0
        place, change = place[turned], change[turned].detach()
        l1, cells = change.abs().sum((1, 2)), (change != 0).sum((1, 2)).to(self.l1)
        smaller, sparser = l1 < self.l1[place], cells < self.cells[place]
        self.l1[place[smaller]], self.best[place[smaller]] = l1[smaller], change[smaller]
        self.cells[place[sparser]], self.sparsest[place[sparser]] = cells[sparser], change[sparser]

    @torch.no_grad()
    def tighten(self) -> None:
        """Shrink the kept changes towards 0, and leave out their least cells, while the verdict
        stays turned.
        """
        for kept in (self.best.clone(), self.sparsest.clone()):
            order = kept.abs().flatten(1).argsort(1, descending=True).argsort(1).view_as(kept)
            count = (kept != 0).sum((1, 2), keepdim=True)
            low = torch.zeros_like(self.l1)[:, None, None].repeat(2, 1, 1, 1)
            high = torch.ones_like(low)
            for _ in range(HALVINGS):
                share = (low + high) / 2
                tried = torch.stack([share[0] * kept, kept * (order < (share[1] * count).ceil())])
                turned = torch.stack([self._try(change) for change in tried])[:, :, None, None]
                low, high = torch.where(turned, low, share), torch.where(turned, share, high)

    def _try(self, change: Tensor) -> Tensor:
        margin = self.problem.margin(change)
        self.look(change, margin)
        return margin < 0


# The proximal attack ------------------------------------------------------------------------------


class _Recorded(ProximalAttack):
    """The proximal attack with every step looked at by a record."""

    def __init__(self, record: Record, config: AttackConfig, start: Tensor | None = None):
        super().__init__(record.problem, config, start)
        self.record = record

    def judge(self, step: int, change: Tensor, margin: Tensor) -> None:
        super().judge(step, change, margin)
        self.record.look(change, margin)


def _proximal(
    record: Record, base: AttackConfig, config: EnsembleConfig, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """All penalties from 0, long steps, and random starts; the results of the base, which is one of
    them.
    """
    base = replace(base, patience=0)
    found = _Recorded(record, base).run()
    others = [replace(base, penalty=penalty) for penalty in config.penalties]
    for other in (*others, replace(base, step_size=base.step_size * LONG)):
        _Recorded(record, other).run()
    for _ in range(config.restarts):
        start = _random_start(record.problem, STARTED, generator)
        _Recorded(record, base, start).run()
    return found


def _refine(record: Record, base: AttackConfig, config: EnsembleConfig) -> None:
    """Short steps from what was kept, then the line and the cells."""
    fine = replace(base, patience=0, step_size=base.step_size * SHORT)
    for start in (record.best.clone(), record.sparsest.clone()):
        for penalty in (fine.penalty, *config.penalties):
            _Recorded(record, replace(fine, penalty=penalty), start).run()
    record.tighten()


def _random_start(problem: Problem, share: float, generator: torch.Generator) -> Tensor:
    """A change of a random share of the cells, uniform within their bounds."""
    drawn, where = (_uniform(problem, generator) for _ in range(2))
    return (problem.low + drawn * (problem.high - problem.low)) * (where < share)


def _uniform(problem: Problem, generator: torch.Generator) -> Tensor:
    return torch.rand(problem.values.shape, generator=generator).to(problem.values)


# Few cells ----------------------------------------------------------------------------------------


def _few_cells(record: Record, config: EnsembleConfig, generator: torch.Generator) -> None:
    """The sparse attack and the random search at each budget, on the stays that still stand."""
    for cells in config.cells:
        for restart in range(config.restarts + 1):
            place = (record.cells > cells).nonzero()[:, 0]
            if len(place):
                some = record.problem.take(place)
                start = _random_start(some, min(restart, 1), generator)
                _sparse(record, place, start, cells, config.sparse_steps)
        place = (record.cells > cells).nonzero()[:, 0]
        if len(place):
            _random(record, place, cells, config.queries, generator)


def _sparse(record: Record, place: Tensor, change: Tensor, cells: int, steps: int) -> None:
    """The steps of :func:`descent` on some stays, all looked at."""
    for moved, margin in descent(record.problem.take(place), change, cells, steps):
        record.look(moved, margin, place)


def descent(
    problem: Problem, change: Tensor, cells: int, steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Changes and margins of steps against the margin, the steepest cell by ever less, each
    followed by the projection onto changes of at most so many cells.
    """
    change = nearest(change, problem.low, problem.high, cells)
    for step in range(steps + 1):
        margin, slope = problem.slope(change)
        yield change, margin
        steepest = slope.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
        moved = change - (1 - 0.9 * step / steps) * slope / steepest
        change = nearest(moved, problem.low, problem.high, cells)


def within(
    model: Classifier, series: Series, statistics: Statistics, base: AttackConfig, cells: int,
    steps: int,
) -> np.ndarray:  # fmt: skip
    """The change of at most so many cells under which the margin of each stay is lowest, ``(n, 48,
    F)``, whether or not the model has the stay right.
    """
    found = []
    with frozen(model):
        model.to(device()).eval()
        for problem in problems(model, series, statistics, base, torch.arange(len(series))):
            best, lowest = (
                torch.zeros_like(problem.values),
                torch.full_like(problem.sign, torch.inf),
            )
            for change, margin in descent(problem, best, cells, steps):
                lower = margin < lowest
                best = torch.where(lower[:, None, None], change, best)
                lowest = torch.where(lower, margin, lowest)
            found.append(best.cpu().numpy())
    return np.concatenate(found)


@torch.no_grad()
def _random(
    record: Record, place: Tensor, cells: int, queries: int, generator: torch.Generator
) -> None:
    """Cells at an end of their bounds, exchanged at random as long as the margin falls."""
    problem = record.problem.take(place)
    free = problem.high > problem.low
    change = torch.zeros_like(problem.values)
    lowest = torch.full_like(problem.sign, torch.inf)
    for query in range(queries):
        new = max(1, round(cells * (1 - query / queries) / 2)) if query else cells
        stay = top(torch.where(change != 0, _uniform(problem, generator), -1.0), cells - new)
        fresh = top(torch.where(free & ~stay, _uniform(problem, generator), -1.0), new) & free
        end = torch.where(_uniform(problem, generator) < 0.5, problem.low, problem.high)
        other = torch.where(end == 0, problem.low + problem.high, end)
        tried = torch.where(fresh, other, change * stay)
        margin = problem.margin(tried)
        record.look(tried, margin, place)
        better = margin < lowest
        lowest = torch.where(better, margin, lowest)
        change = torch.where(better[:, None, None], tried, change)
