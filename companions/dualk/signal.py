"""Do synthetic visits carry the signal of the real ones? Predictors taught by them, tested on real
patients.

A generator of visits (:class:`scoehr.generators.Whole`) learns from the training
patients. Predictors are then taught by its patients alone, thresholds and epochs chosen by them
too, and are judged on real patients whom neither has seen. Beside them stand predictors taught by
the real training patients, by parts of these, and by real visits permuted among the patients, which
are right one by one and tell nothing of each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

from companions.dualk import baselines, embeddings, graph, history, train
from companions.dualk.batches import Feed
from companions.dualk.cohorts import Records, Split
from companions.dualk.embeddings import EmbeddingConfig
from companions.dualk.models import ModelConfig
from companions.dualk.protocols import CORRECTED
from companions.dualk.train import Learner, TrainingConfig
from scoehr.data.patients import Patients
from scoehr.generators import Whole, WholeConfig
from scoehr.metrics.whole import shuffled_visits

REAL, SYNTHETIC = "real", "synthetic"
#: The sets of patients to learn from, in the order of tables.
SETS = {
    REAL: "real patients",
    "half": "half of them",
    "tenth": "a tenth of them",
    SYNTHETIC: "synthetic patients",
    "dealt": "real visits permuted among the patients",
}
PREDICTORS = {
    "recurrence": "recurrence rates",
    "retain": "RETAIN",
    "dualk": "DuaLK, corrected",
}
#: Parts of a set of which one chooses epochs.
HELD = 9


@dataclass(frozen=True)
class SignalConfig:
    """``width``, ``epochs``: of the generator; ``retain_epochs``."""

    width: int = 128
    epochs: int = 10
    retain_epochs: int = 10


# Sets ---------------------------------------------------------------------------------------------


def as_visits(records: Records, patients: np.ndarray) -> Patients:
    """The visits of some patients (places) without times: abnormal items, named "lab …", and
    codes.
    """
    counts = sparse.hstack([records.labs.astype(np.int32), records.visit_codes], format="csr")
    names = np.concatenate([np.char.add("lab ", records.items.astype(str)), records.codes])
    titles = np.concatenate([records.labels, records.titles])
    counts = sparse.csr_array(counts, dtype=np.int32)
    return Patients(counts, records.first, records.patients, names, titles).take(patients)


def with_test(records: Records, made: Patients, test: np.ndarray) -> tuple[Records, Split]:
    """Records of ``made`` patients followed by the real test patients, and their parts.

    Only the codes of the records are kept; a patient with a visit without any is left out, as the
    study does. Visits are a day apart.
    """
    whole = made, as_visits(records, test)
    made, real = (each.restrict(records.codes)[0].align(records.codes) for each in whole)
    empty = np.unique(made.owner[np.diff(made.counts.indptr) == 0])
    made = made.take(np.setdiff1d(np.flatnonzero(made.numbers > 0), empty))
    numbers = np.concatenate([made.numbers, real.numbers])
    first = np.concatenate([[0], np.cumsum(numbers)])
    counts = sparse.csr_array(sparse.vstack([made.counts, real.counts], format="csr"))
    nothing = sparse.csr_array((counts.shape[0], 0), dtype=bool)
    joined = replace(
        records,
        patients=np.arange(len(numbers)),
        first=first,
        days=(np.arange(first[-1]) - np.repeat(first[:-1], numbers)).astype(np.float32),
        visit_codes=counts.astype(np.int16),
        items=records.items[:0],
        labels=records.labels[:0],
        categories=records.categories[:0],
        labs=nothing,
        first_day=nothing,
    )
    several = np.flatnonzero(made.numbers > 1)
    choose = np.arange(len(several)) % HELD == 0
    tested = np.arange(len(made), len(numbers))
    single = np.flatnonzero(made.numbers == 1)
    return joined, Split(single, several[~choose], several[choose], tested)


def sets(
    records: Records, parts: Split, config: SignalConfig, *, seed: int, folder: Path, progress: bool
) -> dict[str, Patients]:
    """The patients of each set of :data:`SETS`."""
    rng = np.random.default_rng([seed, 9])
    how: dict[str, Any] = {"seed": seed, "folder": folder, "progress": progress}
    real, made = real_and_made(records, parts, config, rng, **how)
    return {
        REAL: real,
        "half": real.take(np.arange(len(real) // 2)),
        "tenth": real.take(np.arange(len(real) // 10)),
        SYNTHETIC: made,
        "dealt": shuffled_visits(real, rng),
    }


def real_and_made(
    records: Records, parts: Split, config: SignalConfig, rng: np.random.Generator, *,
    seed: int, folder: Path, progress: bool,
) -> tuple[Patients, Patients]:  # fmt: skip
    """All patients but those of the test part, in random order, and as many of the generator that
    learnt from them.
    """
    real = as_visits(records, rng.permutation(np.concatenate([parts.pretrain, parts.validation])))
    model = Whole(WholeConfig(width=config.width, epochs=config.epochs))
    model.fit(real, seed=seed, folder=folder, progress=progress)
    return real, model.sample(len(real), seed=seed, progress=progress)


# Prediction ---------------------------------------------------------------------------------------


def predictions(
    records: Records,
    parts: Split,
    retain_epochs: int,
    embedding: EmbeddingConfig,
    config: ModelConfig,
    training: TrainingConfig,
    *,
    seed: int,
    store: Path,
    progress: bool,
) -> dict[str, np.ndarray]:
    """What each of :data:`PREDICTORS`, taught by the training part, says of the test part,
    ``(n_test, targets)``.
    """
    feed, taught = Feed(records), Feed(history.prefixes(records, parts.train))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        retain = baselines.Retain(records.targets, len(records.codes))
    how: dict[str, Any] = {
        "facts": baselines.facts(records, parts), "seed": seed, "store": store,
        "progress": progress,
    }  # fmt: skip
    baselines.learn(retain, feed, parts, epochs=retain_epochs, rate=1e-3, taught=taught, **how)
    triples = graph.knowledge(records, parts.pretrain)
    hake, _ = embeddings.train(triples, embedding, seed=seed, progress=progress)
    nodes = embeddings.features(hake, triples, records.codes, config.features)
    teacher = Learner(
        records, parts, nodes, CORRECTED, config, training, seed=seed, store=store,
        progress=progress,
    )  # fmt: skip
    network = teacher.learn()
    return {
        "recurrence": baselines.recurrence(feed, parts, parts.test),
        "retain": baselines.logits_of(retain, feed, parts.test),
        "dualk": train.predict(network, teacher.graph, teacher.feed, parts.test),
    }
