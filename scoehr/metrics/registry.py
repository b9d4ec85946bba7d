"""What a score is: its function, title, range, direction, ideal and source, in one registry.

A module registers each score beside its function, and :mod:`scoehr.metrics.evaluation` walks the
registry: one registration adds a score to the results, the references, the gaps and the shell's
table. :data:`METRICS` holds the scores of patients; those of visits have a registry of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypeVar

from scoehr.metrics.arrays import Undefined

FAMILIES = ("reported", "fidelity", "utility", "validity", "privacy")
#: Training patients that the scores of privacy and prediction need, at least.
SMALLEST = 20

CHOI = "Choi et al. (2017), MLHC"
YAN = "Yan et al. (2022), Nature Communications 13:7609"
GONCALVES = "Goncalves et al. (2020), BMC Medical Research Methodology 20:108"
NASEER = "Naseer et al. (2023), PMLR 219"
EHRDIFF = "Yuan et al. (2023), EHRDiff"
REPORT = "Team 97 (2024)"
JORDON = "Jordon, Yoon & van der Schaar (2018), arXiv:1806.11345"
PLATZER = "Platzer & Reutterer (2021), Frontiers in Big Data 4"
YALE = "Yale et al. (2020), Neurocomputing 416"
CTABGAN = "Zhao et al. (2021), ACML"
LOPEZ = "Lopez-Paz & Oquab (2017), ICLR"
KS = "Kolmogorov-Smirnov statistic"

Value: TypeAlias = float | Undefined
Statistic: TypeAlias = Callable[..., float | Mapping[str, float]]
Made = TypeVar("Made")
Function = TypeVar("Function", bound=Statistic)


class Members(NamedTuple):
    """The training set of the rows under test."""

    train: Any  # all of it, for exact matches
    sample: Any  # at most as many rows as are held out, for membership and prediction


@dataclass
class Pair:
    """What is scored: held-out and synthetic rows, and the training set of the latter if known."""

    real: Any
    synthetic: Any
    members: Members | None = None
    seed: int = 0
    dense: bool = False  # k-means on dense rows, as in the report
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @property
    def training(self) -> Members:
        """The training set; Undefined where there is none, or one of fewer than 20 patients."""
        if self.members is None:
            raise Undefined("no training set was given")
        if self.members.sample.shape[0] < SMALLEST:
            raise Undefined(
                f"fewer than {SMALLEST} training patients are left when as many as there are rows "
                "are set aside"
            )
        return self.members

    def once(self, function: Callable[[Self], Made]) -> Made:
        """``function(self)``, computed at the first call and kept."""
        if function not in self._made:
            self._made[function] = function(self)
        return self._made[function]


def both(pair: Pair) -> tuple[Any, Any]:
    """The held-out and the synthetic rows."""
    return pair.real, pair.synthetic


@dataclass(frozen=True, eq=False)
class Measure:
    """How scores are made: ``function(*of(pair))`` gives one score or a dictionary of several.

    ``of`` makes the sets of rows that the bootstrap resamples where ``interval`` is true; measures
    with the same ``of`` share them. ``step`` names the measure in the progress bar.
    """

    function: Statistic
    of: Callable[[Pair], tuple[Any, ...]]
    keys: Mapping[str, str]  # name that the function gives a score: key in the registry
    step: str
    interval: bool

    def __call__(self, pair: Pair) -> dict[str, Value]:
        """{key: score, or why it has none} of this pair."""
        try:
            return dict(self.of_sets(*pair.once(self.of)))
        except Undefined as reason:
            return dict.fromkeys(self.keys.values(), reason)

    def of_sets(self, *sets: Any) -> dict[str, float]:
        """{key: score} of these sets of rows; Undefined where the function is."""
        made = self.function(*sets)
        if not isinstance(made, Mapping):
            (key,) = self.keys.values()
            return {key: made}
        return {self.keys[name]: value for name, value in made.items()}


@dataclass(frozen=True)
class Metric:
    """One score of the results.

    ``low`` and ``high`` bound it (None: no bound). ``better``: "lower", "higher", or "target" when
    being off on either side is as bad. ``ideal``: the value of a perfect generator, None when that
    depends on the data and only the real-vs-real reference shows it. ``source``: the paper.
    ``marginal``: independent columns get it right by construction, so it has no gap. ``caution``:
    what it must not be read as.
    """

    title: str
    low: float | None
    high: float | None
    better: Literal["lower", "higher", "target"]
    ideal: float | None
    source: str
    marginal: bool = False
    caution: str = ""
    measure: Measure | None = field(default=None, repr=False)
    key: str = ""

    def __call__(self, real: Any, synthetic: Any, *, train: Any = None, seed: int = 0) -> float:
        """This score alone.

        Args:
            real, synthetic: arrays of shape (n_patients, n_codes); Patients for a score of visits
            train: what the synthetic patients were made from; for privacy and prediction
            seed: of the discriminator and the classifiers

        Raises:
            Undefined: If the score has no value on these data.
        """
        assert self.measure is not None, "register the metric before it is computed"
        members = None if train is None else Members(train, train)
        pair = Pair(real, synthetic, members, seed)
        return self.measure.of_sets(*self.measure.of(pair))[self.key]

    def distance(self, value: float, floor: float) -> float:
        """By how much the value is worse than the floor; negative where it is better."""
        if self.better == "target":
            return abs(value - floor)
        return floor - value if self.better == "higher" else value - floor


class Registry(dict[str, Metric]):
    """{key: metric}; the key is "family.name", or the name alone in a registry without families."""

    def __init__(self, families: Sequence[str] = ()) -> None:
        super().__init__()
        self.families = families

    def register(
        self,
        of: Callable[[Pair], tuple[Any, ...]] = both,
        *,
        family: str = "",
        step: str = "",
        interval: bool = True,
        **metrics: Metric,
    ) -> Callable[[Function], Function]:
        """Decorator of a function of the sets ``of(pair)`` that gives the scores named here.

        Args:
            of: makes the sets of rows, by default the held-out and the synthetic patients
            family: one of the registry's families, if it has any
            step: name in the progress bar, by default that of the first score
            interval: False for scores that have no bootstrap interval, or too slow a one
            metrics: name of each score: what it is
        """
        keys = {name: f"{family}.{name}" if self.families else name for name in metrics}

        def add(function: Function) -> Function:
            measure = Measure(function, of, keys, step or next(iter(metrics)), interval)
            for name, metric in metrics.items():
                self[keys[name]] = replace(metric, measure=measure, key=keys[name])
            self._sort()
            return function

        return add

    def _sort(self) -> None:
        """Families in their order, and scores in the order of registration within each."""
        if self.families:
            order = sorted(
                self.items(), key=lambda item: self.families.index(item[0].split(".")[0])
            )
            self.clear()
            self.update(order)

    @property
    def measures(self) -> list[Measure]:
        """How all scores are made, each measure once."""
        return list(dict.fromkeys(metric.measure for metric in self.values() if metric.measure))

    @property
    def steps(self) -> dict[str, list[Measure]]:
        """The measures by their name in the progress bar."""
        steps: dict[str, list[Measure]] = {}
        for measure in self.measures:
            steps.setdefault(measure.step, []).append(measure)
        return steps


#: Key: "family.name", as in the gaps, intervals and notes of the results. The direction of the
#: reported scores is the one that the report reads them in; its log-cluster has the sign reversed.
METRICS = Registry(FAMILIES)
