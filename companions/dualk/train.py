"""The four stages of training, the heart-failure task, and one loop for all, resumable."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from companions.dualk import evaluate, graph, rates
from companions.dualk.batches import Feed, as_graph, dense, in_parts
from companions.dualk.cohorts import CATEGORIES, Records, Split, heart_failure
from companions.dualk.models import Batch, DuaLK, Graph, LaboratoryNet, ModelConfig, Sizes
from companions.dualk.protocols import Protocol
from scoehr.checkpoints import Checkpoint, facts_hash
from scoehr.files import InputError

Row = dict[str, Any]
Rates = Callable[[int], float]
#: Patients that a stage is scored on after each epoch, at most.
SCORED = 10_000
#: Seconds between checkpoints within a stage.
SAVE_EVERY = 10.0


@dataclass(frozen=True)
class TrainingConfig:
    """Epochs and batches of each stage; the defaults are the study's."""

    joint_epochs: int = 10
    decoder_epochs: int = 10
    laboratory_epochs: int = 100
    epochs: int = 50
    heart_failure_epochs: int = 50
    pretraining_batch: int = 256
    laboratory_batch: int = 128
    batch: int = 32
    heart_failure_batch: int = 512
    rate: float = 1e-3


def joint_rate(rate: float, epoch: int) -> float:
    """Halved at epochs 10, 20, … (from 0), each time from what it was."""
    return rate * 0.5 ** min(epoch // 10, 5)


def laboratory_rate(rate: float, epoch: int) -> float:
    """Halved every 20 epochs."""
    return rate * 0.5 ** (epoch // 20)


def fine_rate(rate: float, epoch: int) -> float:
    """The rate, half of it after epoch 30 and a tenth after epoch 40 (from 0)."""
    return rate * (0.1 if epoch > 40 else 0.5 if epoch > 30 else 1.0)


# One loop ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """What tells one stage from another."""

    name: str
    epochs: int
    batch: int
    rates: Rates
    keep: Literal["best", "last"] = "last"  # the epoch of most merit, or the last
    loses_dropout: bool = False  # evaluation mode for good after the first epoch
    decay: float = 0.0  # decoupled weight decay


def fit(
    module: nn.Module,
    loss: Callable[[np.ndarray], Tensor],
    rows: np.ndarray,
    stage: Stage,
    score: Callable[[], Row],
    *,
    facts: Any,
    seed: int,
    store: Path | None,
    progress: bool,
) -> list[Row]:
    """Train the parts of ``module`` that require gradients, in place; a row of figures an epoch.

    ``loss`` takes chosen entries of ``rows``; ``score`` gives the figures of the module now.
    ``facts`` are what else decides the result: they name the checkpoint in ``store``, from which a
    killed training continues with the same bits.
    """
    trained = [name for name, part in module.named_parameters() if part.requires_grad]
    settings = [stage.batch, stage.keep, stage.loses_dropout, stage.rates(0), seed]
    name = f"{stage.name.replace(' ', '-')}-{facts_hash(facts, settings, module, trained)}"
    path = store and store / f"{name}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = [part for part in module.parameters() if part.requires_grad]
        adam = torch.optim.AdamW(parts, lr=1.0, weight_decay=stage.decay)
        state = Checkpoint(module, {"adam": adam}, torch.default_generator)
        state.read(path)
        state.history = state.history[: stage.epochs]
        done, quiet = len(state.history), not progress or None
        bar = range(done, stage.epochs)
        for epoch in tqdm(bar, stage.name, stage.epochs, initial=done, disable=quiet):
            row = _epoch(state, loss, rows, stage, epoch)
            module.eval()
            row |= score() | {"learning_rate": stage.rates(epoch)}
            best = max((float(old["merit"]) for old in state.history), default=-np.inf)
            if stage.keep == "best" and float(row["merit"]) > best:
                state.keep()
            state.history.append(row | {"seconds": time.perf_counter() - row["seconds"]})
            state.save(path, SAVE_EVERY, last=epoch + 1 == stage.epochs)
    if state.kept:
        module.load_state_dict(state.kept)
    module.eval()
    return state.history


def _epoch(
    state: Checkpoint,
    loss: Callable[[np.ndarray], Tensor],
    rows: np.ndarray,
    stage: Stage,
    epoch: int,
) -> Row:
    """One pass; the row's ``seconds`` still hold when it began."""
    begin, total = time.perf_counter(), 0.0
    state.module.train(not (stage.loses_dropout and epoch > 0))
    adam = state.optimisers["adam"]
    adam.param_groups[0]["lr"] = stage.rates(epoch)
    order = torch.randperm(len(rows)).numpy()
    for chosen in in_parts(order, stage.batch):
        adam.zero_grad()
        value = loss(rows[chosen])
        value.backward()
        adam.step()
        total += float(value.detach()) * len(chosen)
    mean = total / len(rows)
    if not np.isfinite(mean):
        raise InputError(
            f"stage {stage.name}: the loss is not finite in epoch {epoch + 1}; "
            "lower the learning rate"
        )
    return {"stage": stage.name, "epoch": epoch + 1, "train_loss": mean, "seconds": begin}


def line(row: Row) -> str:
    """A row of the history as the study logs it."""
    recalls = ", ".join(f"Recall@{k}: {row[f'recall@{k}']:.4f}" for k in evaluate.KS)
    return (
        f"{row['stage']}, epoch {row['epoch']}: train loss {row['train_loss']:.5f}, "
        f"loss on {row['scored_on']} {row['loss']:.5f}, F1-weighted: {row['f1']:.4f}, {recalls}, "
        f"LR: {row['learning_rate']:.6f}"
    )


def scored(logits: np.ndarray, truth: np.ndarray, loss: float, on: str) -> Row:
    """The study's figures after an epoch, and the merit by which an epoch is chosen, recall@20.

    Loss, F1 with known number of codes, and recall over min(k, true).
    """
    true = truth.sum(axis=1)
    best = evaluate.hits(logits, truth, min(max(evaluate.KS), truth.shape[1]))
    made = evaluate.chosen_by_oracle(logits, truth)
    right, either = (made & truth).sum(axis=0), made.sum(axis=0) + truth.sum(axis=0)
    weight = truth.sum(axis=0)
    f1 = float((2 * right / np.maximum(either, 1) * weight).sum() / max(1, weight.sum()))
    recalls = {}
    for k in evaluate.KS:
        values = evaluate.capped_recall(best, true, k)
        recalls[f"recall@{k}"] = float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
    return {"scored_on": on, "loss": loss, "f1": f1} | recalls | {"merit": recalls["recall@20"]}


def judged(logits: np.ndarray, truth: np.ndarray, on: str) -> Row:
    """:func:`scored` by the mean binary cross-entropy."""
    value = cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth).float())
    return scored(logits, truth, float(value), on)


# Losses ------------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, truth: Tensor, how: str = "logits") -> Tensor:
    """Mean binary cross-entropy.

    ``clipped`` is the study's, log(p + 1e-8), whose gradient fades where p is 0 or 1.
    """
    if how == "logits":
        return functional.binary_cross_entropy_with_logits(logits, truth)
    p = torch.sigmoid(logits)
    return -(truth * torch.log(p + 1e-8) + (1 - truth) * torch.log(1 - p + 1e-8)).mean()


# All stages --------------------------------------------------------------------------------------


@dataclass
class Learner:
    """Trains DuaLK on records under a protocol; ``history`` grows by the rows of every stage."""

    records: Records
    parts: Split
    features: np.ndarray
    protocol: Protocol
    config: ModelConfig
    training: TrainingConfig
    seed: int = 0
    store: Path | None = None
    progress: bool = True
    verbose: bool = False

    def __post_init__(self) -> None:
        p = self.protocol
        given = {name: getattr(p, name) for name in ("attention", "weighted", "ordered")}
        self.config = replace(self.config, **given)
        self.history: list[Row] = []
        self.chooses = self.parts.test if p.selection == "test" else self.parts.validation
        self.graph = disease_graph(self.records, self.parts, p)
        self.whole = Feed(self.records, repeated=p.repeated_codes, whole=True)
        labs = p.labs if self.records.has_labs else "none"
        self.feed = Feed(self.records, labs=labs, repeated=p.repeated_codes)
        found = set(self.records.categories.tolist())
        items = {name: len(self.records.category(name)) for name in CATEGORIES if name in found}
        self.sizes = Sizes(self.records.targets, items, self.feed.labs != "none")
        self.facts = [
            contents(*everything(self.records)),
            p.graph,
            p.split,
            p.repeated_codes,
            p.keeps_dropout,
            str(self.config),
        ]

    def learn(self) -> DuaLK:
        """All four stages; the fine-tuned network, in evaluation mode."""
        model = self._new(self.config, self.sizes)
        if self.sizes.items:
            self.joint(model)
            for name in self.sizes.items:
                self.refine(model, name)
        self.pretrained_weights = {key: value.clone() for key, value in model.state_dict().items()}
        if self.sizes.uses_labs:
            first = self.laboratory().first
            model.lab_layer.load_state_dict(first.state_dict())
        if self.config.copies:
            model.rates.data = torch.from_numpy(rates.table(self.feed, self.parts.train))
        return self.finetune(model)

    def _new(self, config: ModelConfig, sizes: Sizes) -> DuaLK:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return DuaLK(torch.from_numpy(self.features), sizes, config)

    def _fit(
        self, module: nn.Module, loss: Any, rows: np.ndarray, stage: Stage, score: Any, *more: Any
    ) -> None:
        made = fit(
            module,
            loss,
            rows,
            stage,
            score,
            facts=[self.facts, len(rows), *more],
            seed=self.seed,
            store=self.store,
            progress=self.progress,
        )
        self._note(made)

    def _note(self, made: list[Row]) -> None:
        self.history += made
        for row in made if self.verbose else ():
            print(line(row), file=sys.stderr)

    def _held(self) -> tuple[np.ndarray, np.ndarray, str]:
        """Patients to pre-train on and to score by, and what those are."""
        everyone = np.random.default_rng(self.seed).permutation(self.parts.pretrain)
        n = min(SCORED // 10, max(1, len(everyone) // 10))
        if self.protocol.held_out_pretraining:
            return everyone[n:], everyone[:n], "held-out patients"
        return everyone, everyone[:n], "training patients"

    def joint(self, model: DuaLK) -> None:
        """Stage 1: encoder and three decoders on the abnormal items of all visits of a patient."""
        rows, held, on = self._held()
        truth = self.whole.abnormal(held)

        def loss(patients: np.ndarray) -> Tensor:
            nodes = model.graph(self.graph)
            found = model.laboratory(model.patient(nodes, self.whole.batch(patients)))
            answers = self.whole.abnormal(patients)
            parts = [cross_entropy(found[_key(name)], answers[name]) for name in answers]
            return torch.stack(parts).sum()

        def score() -> Row:
            vectors = patient_vectors(model, self.graph, self.whole, held)
            with torch.no_grad():
                found = model.laboratory(vectors)
            total = sum(float(cross_entropy(found[_key(name)], truth[name])) for name in truth)
            each = {
                f"f1 {name}": scored(*_pair(found[_key(name)], truth[name]), 0.0, on)["f1"]
                for name in truth
            }
            every = _pair(torch.cat(list(found.values()), 1), torch.cat(list(truth.values()), 1))
            return scored(*every, total, on) | each

        t = self.training
        stage = Stage("joint", t.joint_epochs, t.pretraining_batch, lambda e: joint_rate(t.rate, e),
                      loses_dropout=not self.protocol.keeps_dropout)  # fmt: skip
        self._fit(model, loss, rows, stage, score, on)

    def refine(self, model: DuaLK, name: str) -> None:
        """Stage 2: one decoder alone; what lies before it is frozen: patients are encoded once."""
        rows, held, on = self._held()
        decoder = model.decoders[_key(name)]
        vectors = patient_vectors(model, self.graph, self.whole, np.concatenate([rows, held]))
        inputs, others = vectors[: len(rows)], vectors[len(rows) :]
        answers, truth = (self.whole.abnormal(part)[name] for part in (rows, held))

        def score() -> Row:
            with torch.no_grad():
                logits = decoder(others)
            return judged(*_pair(logits, truth), on)

        def loss(chosen: np.ndarray) -> Tensor:
            return cross_entropy(decoder(inputs[chosen]), answers[chosen])

        t = self.training
        stage = Stage(name, t.decoder_epochs, t.pretraining_batch, lambda e: t.rate,
                      loses_dropout=not self.protocol.keeps_dropout)  # fmt: skip
        self._fit(decoder, loss, np.arange(len(rows)), stage, score, on)

    def laboratory(self) -> LaboratoryNet:
        """Stage 3: from abnormal items of single-visit patients to codes, 85 % to train on."""
        rows = np.random.default_rng(self.seed).permutation(self.parts.single)
        visits = self.records.first[rows]
        net, history = train_laboratory(
            self.records.labs[visits],
            self.records.visit_codes[visits] > 0,
            width=self.config.width,
            training=self.training,
            keep=self.protocol.laboratory_epoch,
            seed=self.seed,
            store=self.store,
            progress=self.progress,
        )
        self._note(history)
        return net

    def finetune(self, model: DuaLK) -> DuaLK:
        """Stage 4: everything but the laboratory layer on the codes of the last visit."""
        on = "test patients" if self.protocol.selection == "test" else "validation patients"
        chooses = self.chooses[:SCORED]
        truth = self.feed.answers(chooses).toarray() > 0
        t = self.training

        def loss(patients: np.ndarray) -> Tensor:
            logits = model(self.graph, self.feed.batch(patients))
            return cross_entropy(logits, dense(self.feed.answers(patients)), self.protocol.loss)

        def score() -> Row:
            return judged(predict(model, self.graph, self.feed, chooses), truth, on)

        stage = Stage("fine-tuning", t.epochs, t.batch, lambda e: fine_rate(t.rate, e), keep="best")
        self._fit(model, loss, self.parts.train, stage, score, self.protocol.describe(), on)
        return model

    def heart_failure(self) -> tuple[DuaLK, np.ndarray]:
        """The same network without the laboratory layer and with one answer, heart failure (428.x).

        Returns the network and its logits for the test patients.
        """
        config = replace(self.config, classifier_dropout=0.6, copies=False)
        model = self._new(config, Sizes(1, self.sizes.items, uses_labs=False))
        kept = {k: v for k, v in self.pretrained_weights.items() if k.split(".")[0] in SHARED}
        model.load_state_dict({**model.state_dict(), **kept})
        feed, t = Feed(self.records, repeated=self.protocol.repeated_codes), self.training
        on = "test patients" if self.protocol.selection == "test" else "validation patients"
        truth = hearts(self.records, feed, self.chooses)[:, None] > 0

        def loss(patients: np.ndarray) -> Tensor:
            answer = torch.from_numpy(hearts(self.records, feed, patients)).float()[:, None]
            return cross_entropy(model(self.graph, feed.batch(patients)), answer)

        def score() -> Row:
            logits = predict(model, self.graph, feed, self.chooses)
            found = judged(logits, truth, on)
            right = float(((logits > 0) & truth).sum())
            f1 = 2 * right / max(1.0, float((logits > 0).sum() + truth.sum()))
            return found | {"f1": f1, "merit": -found["loss"]}

        stage = Stage("heart failure", t.heart_failure_epochs, t.heart_failure_batch,
                      lambda e: max(1e-6, fine_rate(t.rate, e)), keep="best")  # fmt: skip
        self._fit(model, loss, self.parts.train, stage, score, on)
        return model, predict(model, self.graph, feed, self.parts.test)[:, 0]


#: Parts that the heart-failure network takes from the pre-trained one.
SHARED = {"graph", "visit_attention", "patient_attention", "decoders", "place", "since"}


def hearts(records: Records, feed: Feed, patients: np.ndarray) -> np.ndarray:
    """Whether the last visit has a code of heart failure, (n,) bool."""
    columns = heart_failure(records)[: records.targets]
    return np.asarray(feed.answers(patients)[:, columns].sum(axis=1)).ravel() > 0


def train_laboratory(
    labs: sparse.csr_array,
    codes: sparse.csr_array,
    *,
    width: int,
    training: TrainingConfig,
    keep: Literal["best", "last"],
    seed: int,
    store: Path | None = None,
    progress: bool = True,
    held: tuple[sparse.csr_array, sparse.csr_array] | None = None,
) -> tuple[LaboratoryNet, list[Row]]:
    """The net from abnormal items (n, items) to codes (n, codes).

    It is scored on ``held`` or the last 15 % of the rows.
    """
    end = len(labs.indptr) - 1 if held else max(1, int(0.85 * (len(labs.indptr) - 1)))
    tested = held or (labs[end:], codes[end:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = LaboratoryNet(labs.shape[1], width, codes.shape[1])
    truth, others = tested[1].toarray() > 0, dense(tested[0])

    def score() -> Row:
        with torch.no_grad():
            return judged(net(others).numpy(), truth, "held-out admissions")

    def loss(rows: np.ndarray) -> Tensor:
        return cross_entropy(net(dense(labs[rows])), dense(codes[rows]))

    epochs, batch = training.laboratory_epochs, training.laboratory_batch
    stage = Stage("laboratory", epochs, batch, partial(laboratory_rate, training.rate), keep)
    how: dict[str, Any] = {"facts": contents(labs, codes), "seed": seed, "store": store}
    return net, fit(net, loss, np.arange(end), stage, score, **how, progress=progress)


# Helpers -----------------------------------------------------------------------------------------


def disease_graph(records: Records, parts: Split, protocol: Protocol) -> Graph:
    """The graph of the protocol, from pre-training patients alone.

    No target visit of a validation or test patient is in it.
    """
    make = graph.associated if protocol.graph == "associated" else graph.cooccurrence
    return as_graph(make(records, parts.pretrain), protocol.weighted)


def predict(model: DuaLK, graph: Graph, feed: Feed, patients: np.ndarray) -> np.ndarray:
    """(n, targets) logits in evaluation mode."""
    return _each(model, model.from_nodes, graph, feed, patients).numpy()


def patient_vectors(model: DuaLK, graph: Graph, feed: Feed, patients: np.ndarray) -> Tensor:
    """(n, h) patients in evaluation mode."""
    return _each(model, model.patient, graph, feed, patients)


@torch.no_grad()
def _each(
    model: DuaLK,
    part: Callable[[Tensor, Batch], Tensor],
    graph: Graph,
    feed: Feed,
    patients: np.ndarray,
) -> Tensor:
    """What a part of the network says of patients, batch by batch; the graph is encoded once."""
    was = model.training
    model.eval()
    nodes = model.graph(graph)
    found = torch.cat([part(nodes, feed.batch(chosen)) for chosen in in_parts(patients, 512)])
    model.train(was)
    return found


def fingerprint(records: Records) -> str:
    """Sixteen hexadecimal digits of the visits, codes and laboratory items."""
    found = hashlib.sha256()
    codes = records.visit_codes
    for part in (records.first, codes.indices, codes.indptr, records.labs.indices):
        found.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
    found.update("|".join(records.codes.tolist()).encode())
    return found.hexdigest()[:16]


def everything(records: Records) -> list[Any]:
    """All arrays of the records, laboratory values and days included: what a training can see."""
    return [getattr(records, field.name) for field in fields(records) if field.name != "counts"]


def contents(*parts: Any) -> str:
    """SHA-256 of every value of these dense and sparse arrays, numbers and texts."""
    found = hashlib.sha256()
    for part in parts:
        is_sparse = sparse.issparse(part)
        for array in (part.data, part.indices, part.indptr) if is_sparse else (np.asarray(part),):
            values = array.astype(str) if array.dtype == object else array
            found.update(f"{values.dtype} {values.shape}".encode() + values.tobytes())
    return found.hexdigest()


def _pair(logits: Tensor, truth: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return logits.numpy(), truth.numpy() > 0


def _key(category: str) -> str:
    return category.replace(" ", "_")
