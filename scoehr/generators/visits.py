"""Admission by admission: thinning diffusion on the codes of an admission, given the record so far.

A patient begins with an empty record. At each moment the model has the probability of another
admission; if it comes, the distribution of its number of codes; then its codes are grown from
nothing. Forward, every code of the admission survives with probability a, independently, as in
:mod:`scoehr.thinning`. Once the number of codes is known the level a carries no information, since
all parts of the admission of one size are equally likely: in its place the network is given, beside
the half-grown admission, how many codes are to come, and predicts the next. So codes are added one
at a time. All is given the record so far: how often each code was recorded, the codes of the last
admission and the number of admissions. So chronic codes recur, and one condition makes others
likely later.

Chen & Zhou (2023), Learning to Jump, ICML, for thinning. Hoogeboom et al. (2022), Autoregressive
Diffusion Models, ICLR, for generation in any order. Theodorou, Xiao & Sun (2023), HALO, Nature
Communications 14:5305, for records generated admission by admission (there by a transformer).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from scoehr.data.patients import Patients
from scoehr.files import InputError, check_seed
from scoehr.generators import saved
from scoehr.generators.base import Fitting, Model, Settings, stream
from scoehr.generators.room import check_memory
from scoehr.generators.settings import check_whole
from scoehr.models import ResidualMLP, check_width
from scoehr.training import Schedule

PRIOR = 5.0  # observations that the prior of a rate counts for
WEIGHTS = "admissions.safetensors"


@dataclass(frozen=True)
class VisitConfig(Settings):
    """Every choice of the model."""

    width: int = 512
    depth: int = 2
    epochs: int = 32
    batch: int = 256
    learning_rate: float = 2e-3
    schedule: Schedule = "cosine"
    weight_decay: float = 1e-5
    clip: float = 1.0
    ema: float = 0.999
    sample_batch: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_width(self.width)


class Record(NamedTuple):
    """The records of B patients so far."""

    history: Tensor  # (B, n_codes) how many admissions recorded the code
    last: Tensor  # (B, n_codes) 1 where the last admission did
    number: Tensor  # (B,) how many admissions there were, int64

    def with_admission(self, codes: Tensor) -> Record:
        """The records with one more admission, of these codes ``(B, n_codes)``."""
        return Record(self.history + codes, codes, self.number + 1)

    def at(self, rows: Tensor) -> Record:
        """Some of the records."""
        return Record(self.history[rows], self.last[rows], self.number[rows])

    def to(self, device: str) -> Record:
        """The records on a device."""
        return Record(*(part.to(device) for part in self))


class Context(NamedTuple):
    """Encoded records, once for all codes of the next admission."""

    summary: Tensor  # (B, width)
    average: Tensor  # (B, n_codes) log odds of each code, to which the network adds
    known: Tensor  # (B, n_codes) 1 where the code was recorded before

    def at(self, rows: Tensor) -> Context:
        """Those of some of the records."""
        return Context(self.summary[rows], self.average[rows], self.known[rows])


class AdmissionModel(nn.Module):
    """Probabilities of another admission, of its number of codes, and of each code to be the next.

    The network adds to log odds among the training patients, at a first and at a later admission;
    before training it adds nothing.

    Args:
        max_admissions: of a patient.
        max_codes: of an admission.
        width, depth: of the residual network.
    """

    admission_logits: Tensor  # (max_admissions + 1,) of another after 0, 1, … of them
    size_log_probs: Tensor  # (2, max_codes + 1) of 0, 1, … codes, at first and later admissions
    code_logits: Tensor  # (3, n_codes) at first; later if new; later if recorded before

    def __init__(self, n_codes: int, max_admissions: int, max_codes: int, width: int, depth: int):
        super().__init__()
        self.record_encoder = nn.Sequential(
            nn.Linear(2 * n_codes + 2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.code_network = ResidualMLP(n_codes, width, depth)
        self.code_network.in_proj = nn.Linear(n_codes + width, width)
        self.admission_head, self.size_head = nn.Linear(width, 1), nn.Linear(width, max_codes + 1)
        #: By code: if in the last admission, and by how often before.
        self.recurrence = nn.Parameter(torch.zeros(2, n_codes))
        self.recurrence_head = nn.Linear(width, 1)  # of all codes recorded before
        for layer in (self.admission_head, self.size_head, self.recurrence_head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("admission_logits", torch.zeros(max_admissions + 1))
        self.register_buffer("size_log_probs", torch.zeros(2, max_codes + 1))
        self.register_buffer("code_logits", torch.zeros(3, n_codes))

    def read(self, record: Record) -> Context:
        """Encode records for the other functions."""
        number, often = record.number[:, None].to(record.last), record.history.log1p()
        parts = [often, record.last, number.log1p(), number.clamp(max=1)]
        summary = self.record_encoder(torch.cat(parts, dim=1))
        first, later, recurring = self.code_logits
        recurring = recurring + self.recurrence[0] * record.last + self.recurrence[1] * often
        known = record.history > 0
        average = torch.where(number > 0, torch.where(known, recurring, later), first)
        return Context(summary, average, known.to(summary))

    def hazard(self, record: Record, context: Context) -> Tensor:
        """Log odds of another admission, ``(B,)``."""
        number = record.number.clamp(max=len(self.admission_logits) - 1)
        return self.admission_logits[number] + self.admission_head(context.summary)[:, 0]

    def sizes(self, record: Record, context: Context) -> Tensor:
        """Logits of the number of codes of the next admission, ``(B, max_codes + 1)``."""
        return self.size_log_probs[record.number.clamp(max=1)] + self.size_head(context.summary)

    def forward(self, grown: Tensor, missing: Tensor, context: Context) -> Tensor:
        """Log probabilities of the next code ``(B, n_codes)``, of ``missing`` ``(B,)`` to come.

        The next of r codes is c with probability P(c is among them) / r, at most 1 / r even for a
        certain code. So the log odds of all absent codes are shifted until their probabilities sum
        to r.
        """
        change = self.code_network(torch.cat([grown, context.summary], dim=1), missing.to(grown))
        logits = change + context.average + self.recurrence_head(context.summary) * context.known
        logits = logits.masked_fill(grown > 0, -math.inf)
        return F.logsigmoid(logits + _shift(logits.detach(), missing)).log_softmax(dim=1)


def _shift(logits: Tensor, missing: Tensor, rounds: int = 8) -> Tensor:
    """Shift ``(B, 1)`` of log odds ``(B, n_codes)`` after which probabilities sum to ``missing``.

    By Newton's method.
    """
    wanted = missing[:, None].clamp(min=1).to(logits)
    shift = torch.zeros_like(wanted)
    for _ in range(rounds):
        chance = torch.sigmoid(logits + shift)
        slope = (chance * (1 - chance)).sum(dim=1, keepdim=True)
        step = (wanted - chance.sum(dim=1, keepdim=True)) / slope.clamp(min=1e-3)
        shift = shift + step.clamp(-2, 2)
    return shift


def admission_loss(births: Tensor, codes: Tensor, grown: Tensor) -> Tensor:
    """Negative log-likelihood of growing ``codes`` from ``grown``, a bound on average: ``(B,)``.

    ``births`` are log probabilities of the next code ``(B, n_codes)``. Under a uniform level every
    number of survivors is as likely, so one drawn stands for the number of codes plus one
    (Hoogeboom et al. 2022, eq. 9).
    """
    removed = codes - grown
    total = -torch.where(removed > 0, births, 0.0).sum(dim=1)
    return (codes.sum(dim=1) + 1) * total / removed.sum(dim=1).clamp(min=1)


class VisitThinning(Model):
    """A generator of patients with admissions: ``fit`` on :class:`Patients`, ``sample`` others.

    >>> model = VisitThinning().fit(visits)                                # doctest: +SKIP
    >>> model.sample(1_000, seed=1).write("synthetic.parquet")             # doctest: +SKIP
    """

    name = "visits"
    settings = VisitConfig
    weights = (WEIGHTS,)
    config: VisitConfig
    summary = (
        "Admissions one after another, each grown diagnosis by diagnosis, given the record so far."
    )
    architecture = "residual MLP"
    output = "probability of the next code"

    def fit(
        self,
        train_set: Patients,
        validation: Patients | None = None,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Train on the codes of each admission; how often it has them is not learned.

        Args:
            train_set: the patients to learn from.
            validation: patients whose loss is recorded each epoch; nothing is chosen by it.
            seed: of weights, order, levels and noise.
            folder: of checkpoints, from which an interrupted training continues.

        Raises:
            Diverged: see :func:`scoehr.training.train`.
            InputError: no admissions or no codes, or fewer moments than a batch.
        """
        seed = check_seed(seed)
        if not train_set.starts[-1]:
            raise InputError("no patient has an admission to learn from; give at least one")
        if not train_set.counts.nnz:
            raise InputError(
                "no admission has a code, so there is nothing to learn; give another table"
            )
        max_codes = int(np.diff(train_set.counts.indptr).max())
        self.limits = {"max_admissions": int(train_set.numbers.max()), "max_codes": max_codes}
        self._build(train_set, seed)
        self.model.admission_logits.copy_(_admission_logits(train_set))
        self.model.size_log_probs.copy_(_size_log_probs(train_set, max_codes))
        self.model.code_logits.copy_(_code_logits(train_set))
        moments = Moments(train_set)
        data, held_out = torch.arange(len(moments)), None
        if validation is not None:
            moments = moments.and_those_of(validation.align(train_set.codes))
            held_out = torch.arange(len(data), len(moments))
        fitting = Fitting(data, held_out, seed, Path(folder) if folder else None, progress)
        rows = fitting.train(
            "admissions",
            self.model,
            lambda chosen, rng: self._loss(moments, chosen, rng),
            self._training_config(len(data), weight_decay=self.config.weight_decay),
            device=self.device,
            about={"moments": moments.facts()},
        )
        self.history = pd.DataFrame(rows)
        return self

    def _loss(self, moments: Moments, chosen: Tensor, rng: torch.Generator) -> Tensor:
        """Mean loss of moments: of another admission and, if one comes, of its size and codes."""
        record, codes, comes = moments.at(chosen.cpu().numpy())
        survives = torch.rand(codes.shape, generator=rng) < torch.rand(len(codes), 1, generator=rng)
        record, codes, comes = record.to(self.device), codes.to(self.device), comes.to(self.device)
        grown = codes * survives.to(self.device)
        context = self.model.read(record)
        hazard = self.model.hazard(record, context)
        loss = F.binary_cross_entropy_with_logits(hazard, comes.float(), reduction="sum")
        rows = comes.nonzero()[:, 0]
        record, context, codes, grown = record.at(rows), context.at(rows), codes[rows], grown[rows]
        sizes = codes.sum(dim=1).long().clamp(max=self.model.size_log_probs.shape[1] - 1)
        loss = loss + F.cross_entropy(self.model.sizes(record, context), sizes, reduction="sum")
        births = self.model(grown, (codes - grown).sum(dim=1).long(), context)
        return (loss + admission_loss(births, codes, grown).sum()) / len(comes)

    def _build(self, vocabulary: Patients, seed: int) -> None:
        self.vocabulary = vocabulary.take([])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = {"width": self.config.width, "depth": self.config.depth}
            self.model = AdmissionModel(len(vocabulary.codes), **self.limits, **sizes)

    # --------------------------------------------------------------- sample

    def sample(self, n: int, *, seed: int = 0, progress: bool = True) -> Patients:
        """``n`` synthetic patients, each code at most once an admission.

        No patient has more admissions, and no admission more codes, than a training one had. The
        work needs memory for ``sample_batch`` dense records; the result is sparse.

        Raises:
            InputError: the model is not fitted, ``n`` is not positive, or the result does not fit
            in memory.
        """
        vocabulary = self._require_fitted()
        check_memory(n, len(vocabulary.codes))
        seed, batch = check_seed(seed), self.config.sample_batch
        parts, numbers = [], []
        self.model.eval().to(self.device)
        for start in tqdm(range(0, n, batch), "sampling", disable=not progress or None):
            rows, number = self._patients(min(batch, n - start), stream(seed, start, 0))
            parts.append(rows)
            numbers.append(number)
        self.model.cpu()
        starts = np.concatenate([[0], np.cumsum(np.concatenate(numbers))])
        counts = sparse.vstack(parts, format="csr")
        return Patients(counts, starts, np.arange(n), vocabulary.codes, vocabulary.titles)

    @torch.no_grad()
    def _patients(self, size: int, rng: torch.Generator) -> tuple[sparse.csr_array, np.ndarray]:
        """Admissions ``(n_visits, n_codes)`` of ``size`` patients, and how many each."""
        none = sparse.csr_array((0, len(self.vocabulary.codes)), dtype=np.int32)
        owners, rows = [np.empty(0, dtype=np.int64)], [none]
        for owner, codes in self._rounds(size, rng):
            owners.append(owner)
            rows.append(codes)
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        counts = sparse.csr_array(sparse.vstack(rows, format="csr"))[order]
        return counts, np.bincount(owner, minlength=size)

    def _rounds(
        self, size: int, rng: torch.Generator
    ) -> Iterator[tuple[np.ndarray, sparse.csr_array]]:
        """By round: the patients who have another admission, and its codes."""
        empty = torch.zeros(size, len(self.vocabulary.codes), device=self.device)
        record = Record(empty, empty, torch.zeros(size, dtype=torch.int64, device=self.device))
        owner = torch.arange(size)
        for _ in range(self.limits["max_admissions"]):
            comes = torch.sigmoid(self.model.hazard(record, self.model.read(record))).cpu()
            stay = (torch.rand(len(owner), generator=rng) < comes).nonzero()[:, 0]
            owner, record = owner[stay], record.at(stay.to(self.device))
            if not len(owner):
                return
            codes = self._admission(record, rng)
            yield owner.numpy(), sparse.csr_array(codes.cpu().numpy().astype(np.int32))
            record = record.with_admission(codes)

    def _admission(self, record: Record, rng: torch.Generator) -> Tensor:
        """Grow one admission for each record, code by code: ``(B, n_codes)``."""
        context = self.model.read(record)
        sizes = self.model.sizes(record, context).softmax(dim=1).cpu()
        missing = torch.multinomial(sizes, 1, generator=rng)[:, 0]
        grown = torch.zeros_like(context.average)
        while len(rows := missing.nonzero()[:, 0]):
            here = rows.to(self.device)
            births = self.model(grown[here], missing[rows].to(self.device), context.at(here))
            born = torch.multinomial(births.exp().cpu(), 1, generator=rng)[:, 0]
            grown[here, born.to(self.device)] = 1
            missing[rows] -= 1
        return grown

    # ----------------------------------------------------------- save, load

    def write(self, folder: Path, **extra: Any) -> None:
        head = {"generator": self.name, "config": asdict(self.config), "limits": self.limits}
        saved.write(folder, head | extra, self._weights(), self.vocabulary, self.history)

    def _read(self, folder: Path, config: dict[str, Any]) -> None:
        self.limits = config.get("limits", {})
        if not isinstance(self.limits, dict) or set(self.limits) != {"max_admissions", "max_codes"}:
            raise saved.damaged(folder / "config.json", "limits")
        with saved.naming(folder):
            for name, value in self.limits.items():
                check_whole(name, value, "[1, 1000000]")

    def _without_patients(self, codes: np.ndarray, titles: np.ndarray) -> Patients:
        none = sparse.csr_array((0, len(codes)), dtype=np.int32)
        return Patients(none, np.zeros(1), np.empty(0, dtype=int), codes, titles)

    def _blank(self) -> Self:
        blank = super()._blank()
        blank.limits = self.limits
        return blank

    def _modules(self) -> dict[str, nn.Module]:
        return {WEIGHTS: self.model}


# ----------------------------------------------------------------------------
# What is learned from


class Moments:
    """Every moment at which another admission comes or not: before each, and after the last."""

    def __init__(self, visits: Patients):
        presence, totals = visits.presence(), visits.totals()
        last = np.where(visits.numbers > 0, visits.starts[1:] - 1, 0)
        admitted = sparse.diags_array((visits.numbers > 0).astype(np.float32))
        nothing = sparse.csr_array(totals.shape, dtype=np.float32)
        self.history = _stacked(visits.earlier(), totals)  # (n_moments, n_codes)
        self.last = _stacked(visits.previous(), sparse.csr_array(admitted @ presence[last]))
        self.codes = _stacked(presence, nothing)
        self.number = np.concatenate([visits.order, visits.numbers])  # (n_moments,)
        self.comes = np.arange(len(self.number)) < len(visits.order)  # (n_moments,)

    def __len__(self) -> int:
        return len(self.number)

    def facts(self) -> list[Tensor]:
        """What distinguishes these admissions from others."""
        parts = (self.codes.indptr, self.codes.indices, self.number)
        return [torch.from_numpy(part) for part in parts]

    def and_those_of(self, visits: Patients) -> Moments:
        """These, then those of other patients over the same vocabulary."""
        other = Moments(visits)
        for name in ("history", "last", "codes"):
            setattr(other, name, _stacked(getattr(self, name), getattr(other, name)))
        for name in ("number", "comes"):
            setattr(other, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        return other

    def at(self, rows: np.ndarray) -> tuple[Record, Tensor, Tensor]:
        """Records before, codes of the next admission ``(B, n_codes)``, and if there is one."""
        sparse_parts = (self.history, self.last, self.codes)
        history, last, codes = (torch.from_numpy(part[rows].toarray()) for part in sparse_parts)
        number, comes = (torch.from_numpy(part[rows]) for part in (self.number, self.comes))
        return Record(history, last, number), codes, comes


def _stacked(*parts: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(sparse.vstack(parts, format="csr"), dtype=np.float32)


def _code_logits(visits: Patients) -> Tensor:
    """Log odds of each code at a first admission, at a later one if new, and if recorded before.

    ``(3, n_codes)``. A rate is shrunk towards that of all admissions, and that of recurrence
    towards the mean of all codes.
    """
    presence, earlier, order = visits.presence(), visits.earlier(), visits.order
    known = sparse.csr_array(earlier > 0, dtype=np.float32)
    parts = (presence[order == 0], presence[order > 0], presence * known, known)
    first, later, again, at_risk = (
        np.asarray(part.sum(axis=0), dtype=float).ravel() for part in parts
    )
    n_first = max(1, int((order == 0).sum()))
    n_new = np.maximum((order > 0).sum() - at_risk, 0)
    overall = (first + later + 0.3) / (len(order) + 1)  # small, not 0, for a code never seen
    recurrence = again.sum() / max(1.0, at_risk.sum())
    rates = [
        (first + PRIOR * overall) / (n_first + PRIOR),
        (later - again + PRIOR * overall) / (n_new + PRIOR),
        (again + PRIOR * recurrence) / (at_risk + PRIOR),
    ]
    return _logit(np.stack(rates))


def _admission_logits(visits: Patients) -> Tensor:
    """Log odds of another admission after 0, 1, … of them, ``(max_admissions + 1,)``.

    All but the first are shrunk towards their mean.
    """
    numbers = visits.numbers
    at_risk = np.array([(numbers >= k).sum() for k in range(numbers.max() + 1)], dtype=float)
    more = np.append(at_risk[1:], 0.0)
    mean = more[1:].sum() / max(1.0, at_risk[1:].sum())
    prior = np.where(np.arange(len(at_risk)) > 0, PRIOR, 0.0)
    return _logit((more + prior * mean) / (at_risk + prior))


def _size_log_probs(visits: Patients, max_codes: int) -> Tensor:
    """Log shares of admissions by size, first ones and later ones: ``(2, max_codes + 1)``."""
    sizes, later = np.diff(visits.counts.indptr), visits.order > 0
    overall = np.bincount(sizes, minlength=max_codes + 1) + 0.1
    overall = overall / overall.sum()
    parts = (sizes[~later], sizes[later])
    found = np.stack([np.bincount(part, minlength=max_codes + 1) for part in parts])
    rates = (found + PRIOR * overall) / (found.sum(axis=1, keepdims=True) + PRIOR)
    return torch.from_numpy(np.log(rates).astype(np.float32))


def _logit(rates: np.ndarray) -> Tensor:
    rates = np.clip(rates, 1e-6, 1 - 1e-6)
    return torch.from_numpy(np.log(rates / (1 - rates)).astype(np.float32))
