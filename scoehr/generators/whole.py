"""Whole patients: columns, codes and visits from one generator.

:mod:`scoehr.facts` has the mathematics; here it gets tables of patients. Visits are drawn one after
another, each given the patient's columns and the visits before. Without columns, and with one visit
a patient, this is :class:`~scoehr.generators.Thinning`, bit for bit.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor, nn
from tqdm import tqdm

from scoehr.columns import Coding, Layout, Per
from scoehr.data import rules as rules_of
from scoehr.data.columns import Column, Columns
from scoehr.data.kinds import Wish
from scoehr.data.patients import Patients
from scoehr.data.rules import Fact, Of, Rule
from scoehr.facts import FOLLOWED, SIZE, VISITED, Draw, FactModel
from scoehr.files import InputError, check_seed
from scoehr.generators import cards, conditions, saved
from scoehr.generators.base import Fitting, Model, Settings, stream
from scoehr.generators.room import check_memory
from scoehr.generators.settings import check_whole
from scoehr.minibatches import SparseRows
from scoehr.models import FactMLP, Past
from scoehr.thinning import exact_jumps
from scoehr.training import Schedule


@dataclass(frozen=True)
class WholeConfig(Settings):
    """Every choice of the model; the first ones are those of thinning."""

    width: int = 256
    depth: int = 2
    epochs: int = 60
    batch: int = 256
    learning_rate: float = 2e-3
    schedule: Schedule = "cosine"
    clip: float = 10.0
    #: Where there is no column nor second visit; others are exact.
    lengths: Literal["blurred", "supported", "exact"] = "blurred"
    blur: float = 0.05  # of lengths that are not exact
    ema: float = 0.999
    rules: bool = True  # patients who break one that all training patients keep are drawn again
    sample_batch: int = 4096


class Whole(Model):
    """A generator of whole patients: ``fit`` on :class:`Patients`, ``sample`` others.

    >>> model = Whole().fit(patients)                                      # doctest: +SKIP
    >>> model.sample(1_000, seed=1).write("synthetic")                     # doctest: +SKIP
    >>> model.sample(1_000, given=["sex=F", "428"], without=["585"])       # doctest: +SKIP
    >>> model.complete(partial, visits=True)                               # doctest: +SKIP
    """

    name = "whole"
    settings = WholeConfig
    weights: ClassVar[tuple[str, ...]] = ("facts.safetensors",)
    config: WholeConfig
    summary = "Whole patients, visit by visit: columns restored one by one, then codes."
    architecture = "residual MLP on patient vectors"
    output = "rate and shares"

    def __init__(self, config: Any = None, device: str | None = None):
        super().__init__(config, device)
        self.patients: int | None = None  # trained on
        self.pairs: sparse.csr_array | None = None
        #: What all training patients keep, and all their visits.
        self.rules: dict[Of, list[Rule]] = {"patient": [], "visit": []}
        self.support, self.accepted, self.proposed = "", 0, 0

    def fit(
        self,
        train_set: Patients,
        validation: Patients | None = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Train on all visits of the patients.

        Args:
            train_set: the patients to learn from.
            validation: patients whose loss is recorded each epoch; nothing is chosen by it.
            seed: of weights, order, levels and noise.
            folder: of checkpoints, from which an interrupted training continues.

        Raises:
            Diverged: see :func:`scoehr.training.train`.
            InputError: no visit, or neither a code nor a column.
        """
        seed = check_seed(seed)
        if not train_set.starts[-1]:
            raise InputError("no patient has a visit to learn from; give at least one")
        if not train_set.counts.nnz and not train_set.columns.names + train_set.visit_columns.names:
            raise InputError("no visit has a code and there is no column; give another table")
        exact = self.config.lengths == "exact"
        self.codings, self.patients = codings_of(train_set, exact), len(train_set)
        self.limits = {"visits": int(train_set.numbers.max())}
        self._build(train_set, seed)
        rows = self._rows(train_set)
        self._set_averages(train_set, rows)
        held_out = None
        if validation is not None:
            held_out = SparseRows(self._rows(validation.align(train_set.codes)).rows)
        checkpoints = Path(folder) if folder else None
        fitting = Fitting(SparseRows(rows.rows), held_out, seed, checkpoints, progress)
        config = self._training_config(len(fitting.data))
        self.history = pd.DataFrame(
            fitting.train("rate", self.rate, self.rate.loss, config, device=self.device)
        )
        self.pairs = conditions.count_pairs_of(self._facts(train_set))
        if self.config.rules:
            self.rules = {of: rules_of.find(train_set, of) for of in self.rules}
        return self

    def _build(self, vocabulary: Patients, seed: int) -> None:
        columns, visit_columns = (
            Columns(tuple(found), tuple(np.empty(0) for _ in found))
            for found in (self._columns("patient"), self._columns("visit"))
        )
        none = vocabulary.take([])
        self.vocabulary = replace(none, columns=columns, visit_columns=visit_columns)
        self.layout, n_codes = Layout(self.codings), len(vocabulary.codes)
        past = self.limits["visits"] > 1
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Initializing zero-element")  # no codes
            torch.manual_seed(seed)
            sizes = (past, self.config.width, self.config.depth)
            network = FactMLP(n_codes, self.layout.n_values, *sizes)
            how = (self.config.blur, self.config.lengths == "supported")
            self.rate = FactModel(network, n_codes, self.layout, past, *how)

    def _set_averages(self, patients: Patients, rows: Encoded) -> None:
        """Set what the network adds to: of codes among all visits, of columns by visit."""
        self.rate.fit_marginals(SparseRows(patients.counts))
        if not len(self.layout):
            return
        values = sparse.csr_array(rows.values)
        first = np.asarray(values[rows.number == 0].sum(axis=0)).ravel()
        pairs = None
        if self.limits["visits"] > 1:
            later = np.flatnonzero(rows.number)
            pairs = torch.from_numpy((values[later - 1].T @ values[later]).toarray())
            self.rate.network.again_head.weight.data[:, -3] = _recurrence(patients)
        self.rate.fit_columns(torch.from_numpy(first), pairs)

    @property
    def said(self) -> dict[str, Wish]:
        """What the model's columns are, by which tables of partial patients are read."""
        return {
            column.name: Wish.of(column)
            for column in (*self._columns("patient"), *self._columns("visit"))
        }

    def _columns(self, per: Per) -> list[Column]:
        """The columns of patients, or of visits."""
        found = [coding for coding in self.codings if coding.per == per]
        return [Column(coding.name, coding.kind, coding.labels) for coding in found]

    def losses(self, patients: Patients, *, draws: int = 16, seed: int = 0) -> np.ndarray:
        """Training loss of each patient, summed over visits, ``(n,)``, the mean of so many draws.

        An attack reads it to find members (:mod:`scoehr.metrics.whole`).
        """
        rows = self._rows(patients.align(self._require_fitted().codes))
        rng, found = torch.Generator().manual_seed(check_seed(seed)), np.zeros(len(patients))
        places, rate = np.argsort(rows.owner, kind="stable"), self.rate.eval()
        ends = np.cumsum(np.bincount(rows.owner, minlength=len(patients)))
        for patient, own in enumerate(np.split(places, ends[:-1])):
            x = torch.from_numpy(rows.rows[own].toarray()).repeat(draws, 1)
            with torch.no_grad():
                found[patient] = len(own) * float(rate.loss(x, rng))
        return found

    # Rows -----------------------------------------------------------------------------------------

    def _rows(self, patients: Patients) -> Encoded:
        """A row a visit, patient by patient, then one for each patient without visits."""
        places, owner = self._places(patients), patients.owner
        idle = np.flatnonzero(patients.numbers == 0)
        more = sparse.csr_array((len(idle), len(patients.codes)), dtype=np.float32)
        x = sparse.vstack([patients.counts.astype(np.float32), more], format="csr")
        number = np.concatenate([patients.order, np.zeros(len(idle), dtype=int)])
        values = _one_hot(places, self.layout)
        parts = [x, values]
        if self.limits["visits"] > 1:
            often, last = patients.earlier().log1p(), patients.previous()
            before = np.where(number > 0, np.arange(len(number)) - 1, 0)
            earlier = sparse.diags_array((number > 0).astype(np.float32)) @ values[before]
            parts += [sparse.vstack([often, more]), sparse.vstack([last, more]), earlier]
            parts.append(sparse.csr_array(number[:, None].astype(np.float32)))
        rows = sparse.csr_array(sparse.hstack(parts, format="csr"))
        return Encoded(rows, sparse.csr_array(values), number, np.concatenate([owner, idle]))

    def _places(self, patients: Patients) -> np.ndarray:
        """Places ``(n_rows, n_columns)``, -1 where a row has none."""
        owner, n_visits = patients.owner, int(patients.starts[-1])
        idle = np.flatnonzero(patients.numbers == 0)
        whose = np.concatenate([owner, idle])
        is_visit = np.arange(len(whose)) < n_visits
        last = patients.starts[1:][owner] == np.arange(n_visits) + 1
        found = np.full((len(whose), len(self.codings)), -1)
        for k, coding in enumerate(self.codings):
            if coding.per == "patient":
                found[:, k] = coded(coding, patients.columns)[whose] if len(whose) else []
            elif coding.per == "visit":
                found[is_visit, k] = coded(coding, patients.visit_columns)
            elif coding.name == SIZE:
                found[is_visit, k] = coding.places(np.asarray(patients.counts.sum(axis=1)).ravel())
            else:
                found[:, k] = is_visit if coding.name == VISITED else -1
                if coding.name == FOLLOWED:
                    found[is_visit, k] = ~last
        return found

    def _facts(self, patients: Patients) -> sparse.csr_array:
        """1 where a patient has a code, or a value of a column, at any visit."""
        rows = self._rows(patients)
        width = len(patients.codes) + self.layout.n_values
        owners = (np.ones(len(rows.owner)), (rows.owner, np.arange(len(rows.owner))))
        belongs = sparse.csr_array(owners, shape=(len(patients), len(rows.owner)))
        return sparse.csr_array((belongs @ rows.rows[:, :width]) > 0, dtype=np.int32)

    # Sample ---------------------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        given: Sequence[str] = (),
        without: Sequence[str] = (),
        progress: bool = True,
    ) -> Patients:
        """``n`` synthetic patients.

        Args:
            given: what every patient is to have: a code, or ``COLUMN=VALUE``; at one visit at
                least, where they have several.
            without: what no visit of any patient is to have.

        Raises:
            InputError: the model is not fitted, ``n`` is not positive, no training patient meets
                the condition, or hardly a synthetic one does.
        """
        vocabulary, seed = self._require_fitted(), check_seed(seed)
        check_memory(n, len(vocabulary.codes))
        wanted = Wanted.read(given, without, vocabulary.codes, self.layout)
        self._check_support(wanted)
        self.accepted, self.proposed, parts = 0, 0, []
        batch = self.config.sample_batch
        for start in tqdm(range(0, n, batch), "sampling", disable=not progress or None):
            size = min(batch, n - start)
            parts.append(self._accepted(size, wanted, stream(seed, start, 0)))
        return joined(parts)

    def _accepted(self, size: int, wanted: Wanted, rng: torch.Generator) -> Patients:
        """``size`` patients who meet a condition, drawn until there are as many."""
        parts, accepted, proposed = [], 0, 0
        while (missing := size - accepted) > 0:
            if proposed > conditions.MAX_PROPOSALS * max(size, 100):
                raise InputError(
                    f"of {proposed:,} patients drawn {accepted} met the condition; ask for less"
                )
            n = min(self.config.sample_batch, math.ceil(missing * (proposed + 1) / (accepted + 1)))
            drawn = self._propose(n, wanted, rng)
            chosen = np.flatnonzero(self._meets(drawn, wanted, rng))[:missing]
            parts.append(drawn[chosen])
            accepted, proposed = accepted + len(chosen), proposed + n
        self.accepted, self.proposed = self.accepted + accepted, self.proposed + proposed
        return joined(parts)

    def _propose(self, n: int, wanted: Wanted, rng: torch.Generator) -> Patients:
        """Patients drawn from what can be fixed: their columns, and where there is one visit all of
        a condition.
        """
        places = np.full((n, len(self.codings)), -1)
        start = torch.zeros(n, len(self.vocabulary.codes))
        for column, place, _ in wanted.values:
            if self.codings[column].per == "patient" or self.limits["visits"] == 1:
                places[:, column] = place
        if self.limits["visits"] == 1:
            start[:, list(wanted.codes)] = 1.0
            if wanted.codes and self.rate.visited >= 0:
                places[:, self.rate.visited] = 1
        if not len(self.layout):
            x, _ = exact_jumps(self.rate.eval(), start, rng=rng)
            return self._patients([Visits(np.arange(n), _csr(x), places)], n, rng)
        begun = Given(np.zeros(n, dtype=int), [Visits(np.arange(n), _csr(start), places)])
        return self._patients(list(self._rounds(n, begun, True, None, rng)), n, rng, wanted)

    def _meets(self, drawn: Patients, wanted: Wanted, rng: torch.Generator) -> np.ndarray:
        """Which patients keep the rules and meet the condition.

        What grew from given codes, one each, is drawn in proportion to the product of their counts,
        so accepted with probability 1 over it.
        """
        chosen = torch.rand(len(drawn), generator=rng, dtype=torch.float64).numpy()
        meets = ~self.breaks(drawn)
        if wanted.anything:
            facts = self._facts(drawn)
            has, lacks = wanted.facts(self.layout, len(self.vocabulary.codes))
            meets &= (facts[:, has].toarray() > 0).all(axis=1)
            meets &= (facts[:, lacks].toarray() == 0).all(axis=1)
        if wanted.codes and self.limits["visits"] == 1:
            counts = drawn.to_matrix().counts[:, list(wanted.codes)].toarray()
            meets &= chosen < 1 / counts.prod(axis=1).clip(min=1)
        return meets

    def breaks(self, patients: Patients) -> np.ndarray:
        """Which patients break a rule that all training patients keep, ``(n_patients,)``."""
        return rules_of.breakers(self.rules, patients)

    def _check_support(self, wanted: Wanted) -> None:
        """Set ``support``; :class:`InputError` if no training patient meets the condition."""
        self.support = ""
        has, _ = wanted.facts(self.layout, len(self.vocabulary.codes))
        if has and self.pairs is not None:
            chosen = sorted(zip(has, wanted.names, strict=True))
            facts, names = zip(*chosen, strict=True)
            self.support = conditions.support(self.pairs, names, facts, self.patients or 0)

    # Complete -------------------------------------------------------------------------------------

    def complete(
        self, partial: Patients, *, visits: bool = False, seed: int = 0, progress: bool = True
    ) -> Patients:
        """Fill in what partial patients lack; what they have is kept.

        A column that is not there is drawn, missing values among its values; in one that is, empty
        cells get a value. Codes of the visits that are there are whole.

        Args:
            partial: patients, whose columns may be some of the model's, with empty cells.
            visits: go on with further visits, as the model has them, after the last.

        Raises:
            InputError: the model is not fitted, or a column is none of the model's.
        """
        vocabulary, seed = self._require_fitted(), check_seed(seed)
        known = {coding.name: coding for coding in self.codings}
        for column, _ in (*partial.columns, *partial.visit_columns):
            if column.name not in known:
                raise InputError(f"column {column.name}: is none of the model's; leave it out")
            known[column.name].check_levels(column)
        partial = partial.align(vocabulary.codes)
        if not len(self.layout):
            return partial
        found = []
        batches = range(0, len(partial), self.config.sample_batch)
        for start in tqdm(batches, "completing", disable=not progress or None):
            part = partial[np.arange(start, min(start + self.config.sample_batch, len(partial)))]
            rng = stream(seed, start, 0)
            rows = list(self._rounds(len(part), self._given(part), visits, self._barred(part), rng))
            found.append(_kept(self._patients(rows, len(part), rng), part))
        return replace(joined(found), patients=partial.patients)

    def _given(self, partial: Patients) -> Given:
        """What partial patients have, visit by visit; of those without any, their columns."""
        places, owner = (
            self._places(partial),
            np.concatenate([partial.owner, np.flatnonzero(partial.numbers == 0)]),
        )
        followed, visited = self.layout.find(FOLLOWED), self.rate.visited
        order = np.concatenate([partial.order, np.zeros(len(owner) - len(partial.order), int)])
        ends = order == np.maximum(partial.numbers[owner], 1) - 1
        if followed >= 0:
            places[ends, followed] = -1
        if visited >= 0:
            places[partial.numbers[owner] == 0, visited] = -1
        none = sparse.csr_array(
            (len(owner) - len(partial.order), len(partial.codes)), dtype=np.int32
        )
        counts = sparse.csr_array(sparse.vstack([partial.counts, none], format="csr"))
        rounds = []
        for number in range(int(order.max(initial=0)) + 1):
            rows = np.flatnonzero(order == number)
            rows = rows[np.argsort(owner[rows])]
            rounds.append(Visits(owner[rows], counts[rows], places[rows]))
        return Given(partial.numbers, rounds)

    def _barred(self, partial: Patients) -> Tensor:
        """Values that are not drawn: missing ones of columns that are there."""
        barred = torch.zeros(self.layout.n_values, dtype=torch.bool)
        present = {*partial.columns.names, *partial.visit_columns.names}
        for k, coding in enumerate(self.codings):
            if coding.missing and coding.name in present and len(coding) > 1:
                barred[int(self.layout.starts[k + 1]) - 1] = True
        return barred

    # Visit by visit -------------------------------------------------------------------------------

    def _rounds(
        self, n: int, given: Given, go_on: bool, barred: Tensor | None, rng: torch.Generator
    ) -> Any:
        """By visit number: which patients have one, its codes and its columns."""
        none = torch.zeros(self.layout.n_values, dtype=torch.bool) if barred is None else barred
        record = Record.empty(n, len(self.vocabulary.codes), self.layout)
        owner, self.rate = np.arange(n), self.rate.eval()
        for number in range(max(self.limits["visits"], len(given.rounds))):
            here = given.rounds[number] if number < len(given.rounds) else None
            visits = self._visit(owner, record, here, given.numbers > number, none, rng)
            yield visits
            has = self._has_visit(visits)
            record = record.with_visit(visits, has, self.layout)
            more = self._goes_on(visits, has, given.numbers, number, go_on)
            owner, record = visits.owner[more], record.at(more)
            if not len(owner):
                return

    def _has_visit(self, visits: Visits) -> np.ndarray:
        """Rows that are visits, not of patients without any."""
        if self.rate.visited < 0:
            return np.ones(len(visits.owner), dtype=bool)
        return visits.places[:, self.rate.visited] != 0

    def _goes_on(
        self, visits: Visits, has: np.ndarray, numbers: np.ndarray, number: int, go_on: bool
    ) -> np.ndarray:
        """Rows after which another visit follows."""
        known = numbers[visits.owner] > number + 1
        followed = self.layout.find(FOLLOWED)
        if not go_on or followed < 0 or number + 1 >= self.limits["visits"]:
            return np.flatnonzero(known)
        return np.flatnonzero(known | (has & (visits.places[:, followed] == 1)))

    def _visit(
        self,
        owner: np.ndarray,
        record: Record,
        given: Visits | None,
        whole: np.ndarray,
        barred: Tensor,
        rng: torch.Generator,
    ) -> Visits:
        """The next visit of each owner, some of it given; of those ``whole`` all codes are."""
        places = record.patient_places.clone()
        x = torch.zeros(len(owner), len(self.vocabulary.codes))
        if given is not None:
            rows = np.searchsorted(owner, given.owner)
            there = torch.from_numpy(given.places)
            places[rows] = torch.where(there >= 0, there, places[rows])
            x[rows] = torch.from_numpy(given.counts.toarray()).float()
        if self.rate.visited >= 0:
            places[record.number > 0, self.rate.visited] = 1
        size = torch.where(torch.from_numpy(whole[owner]), x.sum(dim=1), -1.0)
        for rows in torch.arange(len(owner)).split(1024):
            part, at = Part(x[rows], places[rows], size[rows]), record.past(rows, self.rate)
            self._draw(part, at, barred, rng)
            has = part.places[:, self.rate.visited] != 0 if self.rate.visited >= 0 else None
            wanted = part.size if has is None else part.size.where(has, torch.zeros(()))
            x[rows] = self.rate.grow(part.x, part.places, wanted, at, rng)
            places[rows] = part.places
        return Visits(owner, _csr(x), places.numpy())

    def _draw(self, part: Part, past: Past | None, barred: Tensor, rng: torch.Generator) -> None:
        """Draw the columns of records: if there is a visit, of how many codes, then all others in
        random order.
        """
        absent = torch.zeros_like(part.places, dtype=torch.bool)
        others = torch.randperm(len(self.layout), generator=rng).tolist()
        if self.rate.visited >= 0:
            first = Draw([self.rate.visited], absent, barred, rng)
            self.rate.draw_columns(part.x, part.places, part.size, past, first)
            gone = part.places[:, self.rate.visited] == 0
            absent = gone[:, None] & ~self.layout.of_patient
        for order in ([self.rate.size], others):
            how = Draw(order, absent, barred, rng)
            self.rate.draw_columns(part.x, part.places, part.size, past, how)

    def _patients(
        self, rounds: list[Visits], n: int, rng: torch.Generator, wanted: Wanted | None = None
    ) -> Patients:
        """The patients of all rounds, with values drawn for the places of columns."""
        owner = np.concatenate([visits.owner for visits in rounds])
        order = np.argsort(owner, kind="stable")
        counts = sparse.csr_array(sparse.vstack([visits.counts for visits in rounds], format="csr"))
        rows = Visits(owner[order], counts[order], np.vstack([v.places for v in rounds])[order])
        first = np.searchsorted(rows.owner, np.arange(n))
        columns = self._values("patient", rows.places[first], rng, wanted)
        has = self._has_visit(rows)
        visit_columns = self._values("visit", rows.places[has], rng, wanted)
        numbers = np.bincount(rows.owner[has], minlength=n)
        return replace(
            self.vocabulary,
            counts=sparse.csr_array(rows.counts[np.flatnonzero(has)]),
            starts=np.concatenate([[0], np.cumsum(numbers)]),
            patients=np.arange(n),
            columns=columns,
            visit_columns=visit_columns,
        )

    def _values(
        self, per: Per, places: np.ndarray, rng: torch.Generator, wanted: Wanted | None
    ) -> Columns:
        """Columns of patients or of visits from places ``(n, n_columns)``."""
        columns = self.vocabulary.columns if per == "patient" else self.vocabulary.visit_columns
        exact = {(c, place): value for c, place, value in (wanted.values if wanted else ())}
        found = []
        for k, coding in enumerate(self.codings):
            if coding.per != per:
                continue
            if coding.is_number:
                values = coding.numbers(places[:, k], rng)
                for (column, place), value in exact.items():
                    if column == k and not math.isnan(value):
                        values[places[:, k] == place] = value
            else:
                values = np.where(places[:, k] < len(coding.labels), places[:, k], -1)
            found.append(values)
        return Columns(columns.columns, tuple(found), len(places))

    # Save, load -----------------------------------------------------------------------------------

    def write(self, folder: Path, **extra: Any) -> None:
        columns = [asdict(coding) for coding in self.codings]
        rules = {of: [rule._asdict() for rule in found] for of, found in self.rules.items()}
        head: dict[str, Any] = {
            "generator": self.name,
            "config": asdict(self.config),
            "limits": self.limits,
        }
        head |= {"columns": columns, "rules": rules, "data": {"train": self.patients}}
        words = (self._weights(), self.vocabulary, self.history, self.pairs)
        saved.write(folder, head | extra, *words)
        cards.write(folder, self.summary)

    def _read(self, folder: Path, config: dict[str, Any]) -> None:
        self.limits, self.patients = config.get("limits", {}), config.get("data", {}).get("train")
        if not isinstance(self.limits, dict) or set(self.limits) != {"visits"}:
            raise saved.damaged(folder / "config.json", "limits")
        with saved.naming(folder):
            check_whole("visits", self.limits["visits"], "[1, 1000000]")
        try:
            self.codings = [_coding(entry) for entry in config["columns"]]
            self._columns("patient"), self._columns("visit")
            self.rules = {of: [_rule(entry) for entry in config["rules"][of]] for of in self.rules}
        except (KeyError, TypeError, ValueError, InputError):
            raise saved.damaged(folder / "config.json", "columns") from None
        self.pairs = saved.pairs(folder, config, more=Layout(self.codings).n_values)

    def _without_patients(self, codes: np.ndarray, titles: np.ndarray) -> Patients:
        none = sparse.csr_array((0, len(codes)), dtype=np.int32)
        return Patients(none, np.zeros(1), np.empty(0, dtype=int), codes, titles)

    def _blank(self) -> Self:
        blank = super()._blank()
        blank.limits, blank.codings = self.limits, self.codings
        return blank

    def _modules(self) -> dict[str, nn.Module]:
        return {"facts.safetensors": self.rate}

    def _load_weights(self, weights: saved.Weights) -> None:
        super()._load_weights(weights)
        self.rate.build_tables()


# ----------------------------------------------------------------------------
# Parts


class Encoded(NamedTuple):
    """What training reads, :class:`scoehr.facts.Rows` in a sparse array."""

    rows: sparse.csr_array
    values: sparse.csr_array  # (n_rows, n_values)
    number: np.ndarray  # (n_rows,) of visits before
    owner: np.ndarray  # (n_rows,) whose they are


class Visits(NamedTuple):
    """Rows of visits, or of patients without any."""

    owner: np.ndarray  # (B,) rising
    counts: sparse.csr_array  # (B, n_codes)
    places: np.ndarray  # (B, n_columns)


class Given(NamedTuple):
    """What is known of patients before they are drawn."""

    numbers: np.ndarray  # (n,) visits whose codes are whole
    rounds: list[Visits]  # by visit number


class Part(NamedTuple):
    """Records that are drawn together; all but ``x`` are filled in."""

    x: Tensor  # (B, n_codes)
    places: Tensor  # (B, n_columns)
    size: Tensor  # (B,)


class Record(NamedTuple):
    """The patients so far."""

    often: Tensor  # (B, n_codes) how many visits recorded the code
    last: Tensor  # (B, n_codes)
    places: Tensor  # (B, n_columns) of the last visit
    number: Tensor  # (B,)
    patient_places: Tensor  # (B, n_columns) of the patient's columns alone

    @classmethod
    def empty(cls, n: int, n_codes: int, layout: Layout) -> Record:
        """Patients of whom nothing is known."""
        nothing, places = torch.zeros(n, n_codes), torch.full((n, len(layout)), -1)
        return cls(nothing, nothing, places, torch.zeros(n), places)

    def at(self, rows: np.ndarray) -> Record:
        """Some of the patients."""
        return Record(*(part[rows] for part in self))

    def with_visit(self, visits: Visits, has: np.ndarray, layout: Layout) -> Record:
        """The patients after a visit."""
        codes = torch.from_numpy((visits.counts > 0).toarray()).float()
        places, there = torch.from_numpy(visits.places), torch.from_numpy(has).float()
        own = places.masked_fill(~layout.of_patient, -1)
        return Record(self.often + codes, codes, places, self.number + there, own)

    def past(self, rows: Tensor, rate: FactModel) -> Past | None:
        """What the network is given of it."""
        if not rate.has_past:
            return None
        values = rate.layout.one_hot(self.places[rows])
        return Past(self.often[rows].log1p(), self.last[rows], values, self.number[rows])


class Wanted(NamedTuple):
    """A condition: what patients are to have, and what not."""

    codes: tuple[int, ...]
    values: tuple[tuple[int, int, float], ...]  # column, place, and the number itself
    no_codes: tuple[int, ...]
    no_values: tuple[tuple[int, int], ...]
    names: tuple[str, ...]  # of codes and values, in their order

    @classmethod
    def read(
        cls, given: Sequence[str], without: Sequence[str], codes: np.ndarray, layout: Layout
    ) -> Wanted:
        """From texts ``CODE`` and ``COLUMN=VALUE``; :class:`InputError` for what is neither."""
        columns = {coding.name: k for k, coding in enumerate(layout.codings)}

        def column_of(text: str) -> int | None:
            return None if text in codes else columns.get(text.partition("=")[0])

        def value_of(text: str) -> tuple[int, int, float]:
            column = columns[text.partition("=")[0]]
            coding, value = layout.codings[column], text.partition("=")[2]
            place = coding.place_of(value)
            return column, place, float(value) if coding.is_number and value else math.nan

        for texts in (given, without):
            if isinstance(texts, str):
                raise InputError(f"condition {texts!r} is one text; give a list")
        words = [[t for t in texts if column_of(t) is None] for texts in (given, without)]
        values = [[t for t in texts if column_of(t) is not None] for texts in (given, without)]
        had, lacked = (conditions.columns(codes, part) for part in words)
        found, absent = ([value_of(t) for t in part] for part in values)
        both = next((text for text in given if text in without), None)
        if both is not None:
            raise InputError(f"{both}: is given and excluded at once; leave one out")
        names = tuple(str(codes[j]) for j in had) + tuple(values[0])
        return cls(had, tuple(found), lacked, tuple((c, p) for c, p, _ in absent), names)

    def facts(self, layout: Layout, n_codes: int) -> tuple[list[int], list[int]]:
        """Places among codes and values of what patients are to have, and of what not."""
        has = [(column, place) for column, place, _ in self.values]
        had, lacked = (
            [n_codes + int(layout.starts[column]) + place for column, place in part]
            for part in (has, self.no_values)
        )
        return [*self.codes, *had], [*self.no_codes, *lacked]

    @property
    def anything(self) -> bool:
        """Whether anything is asked."""
        return bool(self.codes or self.values or self.no_codes or self.no_values)


def codings_of(patients: Patients, exact: bool = False) -> list[Coding]:
    """The codings of all columns: the patient's, the visit's, and those made from records.

    None at all where there is neither a column nor a second visit, unless lengths are to be
    ``exact``: then how many codes a record has is a column.
    """
    found = [_learned(column, values, "patient") for column, values in patients.columns]
    found += [_learned(column, values, "visit") for column, values in patients.visit_columns]
    again, idle = bool((patients.numbers > 1).any()), bool((patients.numbers == 0).any())
    if not (found or again or idle or exact):
        return []
    sizes = np.asarray(patients.counts.sum(axis=1), dtype=float).ravel()
    found.append(Coding.of_numbers(SIZE, "derived", sizes, missing=False))
    for name, there in ((FOLLOWED, again), (VISITED, idle)):
        found += [Coding(name, "derived", "category", ("no", "yes"))] if there else []
    return found


def _learned(column: Column, values: np.ndarray, per: Per) -> Coding:
    """The coding of a column, from the values of training patients."""
    if column.kind == "number":
        missing = bool(np.isnan(values).any())
        return Coding.of_numbers(column.name, per, values, missing=missing)
    missing = bool((values < 0).any()) or not column.levels
    return Coding(column.name, per, column.kind, column.levels, missing=missing)


def coded(coding: Coding, columns: Columns) -> np.ndarray:
    """The places of a column's values; -1 where it is not there, or a value is unknown."""
    if coding.name not in columns.names:
        return np.full(len(columns), -1)
    values = columns.of(coding.name)
    own = next(column for column in columns.columns if column.name == coding.name)
    coding.check_kind(own)
    if coding.is_number:
        return coding.places(values)
    place = {label: k for k, label in enumerate(coding.labels)}
    found = np.array([place.get(label, -1) for label in own.levels] + [-1])
    return np.where(values < 0, len(coding.labels) if coding.missing else -1, found[values])


def joined(parts: list[Patients]) -> Patients:
    """Patients of several sets one after another, with ids from 0."""
    starts, before = [np.zeros(1, dtype=int)], 0
    for part in parts:
        starts.append(part.starts[1:] + before)
        before += int(part.starts[-1])
    return replace(
        parts[0],
        counts=sparse.csr_array(sparse.vstack([part.counts for part in parts], format="csr")),
        starts=np.concatenate(starts),
        patients=np.arange(sum(map(len, parts))),
        columns=_stacked([part.columns for part in parts]),
        visit_columns=_stacked([part.visit_columns for part in parts]),
    )


def _stacked(parts: list[Columns]) -> Columns:
    values = zip(*(part.values for part in parts), strict=True)
    found = tuple(np.concatenate(each) for each in values)
    return Columns(parts[0].columns, found, sum(map(len, parts)))


def _kept(drawn: Patients, partial: Patients) -> Patients:
    """Drawn patients with the numbers that partial ones have, not others from the same bins."""
    place = drawn.starts[partial.owner] + partial.order
    columns = _numbers_kept(drawn.columns, partial.columns, np.arange(len(partial)))
    visit_columns = _numbers_kept(drawn.visit_columns, partial.visit_columns, place)
    return replace(drawn, columns=columns, visit_columns=visit_columns)


def _numbers_kept(drawn: Columns, known: Columns, rows: np.ndarray) -> Columns:
    found = []
    for column, values in drawn:
        values = values.copy()
        if column.kind == "number" and column.name in known.names:
            given = known.of(column.name)
            values[rows] = np.where(np.isnan(given), values[rows], given)
        found.append(values)
    return Columns(drawn.columns, tuple(found), len(drawn))


def _one_hot(places: np.ndarray, layout: Layout) -> sparse.csr_array:
    rows, columns = np.nonzero(places >= 0)
    cells = (
        np.ones(len(rows), dtype=np.float32),
        (rows, layout.starts[columns] + places[rows, columns]),
    )
    return sparse.csr_array(cells, shape=(len(places), layout.n_values))


def _csr(x: Tensor) -> sparse.csr_array:
    return sparse.csr_array(x.numpy().astype(np.int32))


def _coding(entry: dict[str, Any]) -> Coding:
    """A coding from plain data."""
    knots = tuple(tuple(map(float, row)) for row in entry["knots"])
    return Coding(**{**entry, "labels": tuple(entry["labels"]), "knots": knots})


def _rule(entry: dict[str, Any]) -> Rule:
    """A rule from plain data."""
    return Rule(**{**entry, "facts": tuple(Fact(*fact) for fact in entry["facts"])})


def _recurrence(patients: Patients) -> Tensor:
    """Log of how much likelier each code is when an earlier visit had it, ``(n_codes,)``."""
    presence = patients.presence()
    known = sparse.csr_array(patients.earlier() > 0, dtype=np.float32)
    again, at_risk, often = (
        np.asarray(part.sum(axis=0), dtype=float).ravel()
        for part in (presence * known, known, presence)
    )
    overall = (often + 0.3) / (presence.shape[0] + 1)
    mean = again.sum() / max(1.0, at_risk.sum())
    return torch.from_numpy(np.log((again + 5 * mean + 1e-9) / (at_risk + 5) / overall)).float()
