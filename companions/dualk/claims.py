"""The claims of the study and the tests that judge them, by runs or by what the text itself states.

``claims.yml`` beside this module holds the claims, see :mod:`reproduction.claims`, and
``reported.json`` the values. No verdict rests on a network that has learnt nothing, see
:func:`learnt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import sparse

from companions.dualk import cohorts, evaluate, graph, models
from companions.dualk.cohorts import Records
from companions.dualk.embeddings import HAKE, EmbeddingConfig
from companions.dualk.experiments import ENOUGH, PLAN, Run
from companions.dualk.protocols import REPORTED
from companions.dualk.train import TrainingConfig, fine_rate
from reproduction.claims import CONTRADICTED, Finding, Ledger, Untestable, verdict
from reproduction.quotes import Quotes
from reproduction.tables import patients

Found: TypeAlias = Mapping[str, Run]

QUOTES = Quotes(Path(__file__).with_name("reported.json"))
NO_TABLE = "the data at hand have no laboratory table"


def _without_table(claim: Mapping[str, Any], found: Found) -> str:
    """Why a claim cannot be judged on data that lack what one of its runs reads."""
    rows = PLAN.text["experiments"]
    reads = any(rows[name].get("laboratory") for name in claim.get("needs", []))
    lacking = "corrected" in found and not found["corrected"].config["data"]["items"]
    return NO_TABLE if reads and lacking else ""


LEDGER = Ledger(Path(__file__).with_name("claims.yml"), QUOTES, unfit=_without_table, home="mimic4")
test = LEDGER.test


# Statements of the text, tried on the code -------------------------------------------------------


def _toy(weighted: bool, ordered: bool = False) -> tuple[models.DuaLK, models.Batch, models.Graph]:
    """A small network of five codes with one patient of two visits, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = models.ModelConfig(6, width=8, decoder=4, weighted=weighted, ordered=ordered)
        sizes = models.Sizes(5, {"hematology": 3}, uses_labs=False)
        model = models.DuaLK(torch.randn(6, 6), sizes, config).eval()
    edges = torch.tensor([[1, 2, 3, 4, 5, 1], [2, 3, 4, 5, 1, 4]])
    batch = models.Batch(
        torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[1, 2]]), torch.tensor([[0.5, 0.0]]),
        torch.zeros(1, 3), torch.zeros(1, 5), torch.zeros(1, 5),
    )  # fmt: skip
    return model, batch, models.Graph(edges, torch.ones(6, 1) if weighted else None)


@test
@torch.no_grad()
def weights_matter(found: Found) -> Finding:
    """Whether other edge weights change the output of the network of the reported protocol."""
    model, batch, edges = _toy(REPORTED.weighted)
    others = None if edges.weights is None else torch.linspace(0, 5, 6)[:, None]
    changed = edges._replace(weights=others)
    moved = float((model(edges, batch) - model(changed, batch)).abs().max())
    why = "the weights are computed and never given to the network"
    return verdict(moved > 0, why, f"change of the logits {moved:g}")


@test
@torch.no_grad()
def order_matters(found: Found) -> Finding:
    """Whether the network of the reported protocol tells an order of visits from another."""
    model, batch, edges = _toy(REPORTED.weighted, REPORTED.ordered)
    reversed_ = batch._replace(visits=batch.visits.flip(1))
    moved = float((model(edges, batch) - model(edges, reversed_)).abs().max())
    answer = "another answer" if moved > 1e-5 else "the same answer"
    why = f"visits in reversed order give {answer}"
    return verdict(moved > 1e-5, why, f"change of the logits {moved:.1g}")


@test
def sequence_matters(found: Found) -> Finding:
    """Whether the disease graph changes with the order of the visits of every patient."""
    cells = np.array([[0, 1, 0, 1], [1, 0, 1, 1], [1, 1, 0, 0]])
    edges = [graph.cooccurrence(_small(part), np.array([0])) for part in (cells, cells[::-1])]
    ones, others = (sorted(zip(e.source, e.target, e.weight, strict=True)) for e in edges)
    same = np.allclose(ones, others)
    why = "an edge joins codes of one visit; visits in another order give the same graph"
    return verdict(not same, why)


def _small(cells: np.ndarray) -> Records:
    """One patient with these visits."""
    codes = sparse.csr_array(cells.astype(np.int16))
    nothing = sparse.csr_array((len(cells), 0), dtype=bool)
    names = np.array([f"00{n}" for n in range(cells.shape[1])])
    none = np.array([], dtype=str)
    return Records(
        "simulated", np.array([1]), np.array([0, len(cells)]),
        np.arange(len(cells), dtype=np.float32), names, cells.shape[1], codes,
        np.array([], dtype=int), none, none, nothing, nothing, {},
    )  # fmt: skip


@test
@torch.no_grad()
def hyperbolic(found: Found) -> Finding:
    """Whether HAKE's score is other than polar, where a whole turn of any phase changes nothing."""
    torch.manual_seed(0)
    model = HAKE(4, 2, EmbeddingConfig(dimensions=5))
    head, relation, tail = torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([2, 3])
    before = model(head, relation, tail)
    model.phase.data[0] += 2 * model.span  # a whole turn of all phases of one entity
    turned = float((model(head, relation, tail) - before).abs().max())
    why = "it is polar: moduli and phases, in which a whole turn changes nothing"
    return verdict(turned >= 1e-4, why, f"change of the score by a whole turn {turned:.1g}")


@test
def macro(found: Found) -> Finding:
    """Whether the F1 reported is a macro average.

    The two differ on a small example, and the code takes the weighted.
    """
    scores = np.array([[3.0, 2, 1], [3, 1, 2], [3, 2, 1]])
    true = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]], dtype=bool)
    made = evaluate.chosen_by_oracle(scores, true)
    both = made.sum(axis=0) + true.sum(axis=0)
    each = np.where(both > 0, 2 * (made & true).sum(axis=0) / np.maximum(both, 1), 1.0)
    weighted = float(evaluate._weighted_f1(np.ones((1, 3), dtype=np.float32), scores, true)[0])
    equal = abs(weighted - each.mean()) < 1e-9
    why = (
        "the average is weighted by how often a code is true, and the number of codes of each "
        "patient is given away"
    )
    return verdict(equal, why, f"on an example weighted {weighted:.2f}, macro {each.mean():.2f}")


@test
def matched(found: Found) -> Finding:
    """Whether as many codes were matched as reported, which is the number of all codes."""
    names = QUOTES.value("counts/4 names")
    codes = QUOTES.value("counts/3 vocabulary/codes/value")
    titled = codes - names["codes_without_title"]["value"]
    holds = names["codes_matched"]["value"] == titled
    return verdict(holds, "unmatched codes are counted as matched", f"{titled:,} matched")


@test
def laboratory_inputs(found: Found) -> Finding:
    """Whether the number of laboratory inputs in the text is that of its own vocabulary."""
    inputs = QUOTES.value("text/laboratory inputs/value")
    items = QUOTES.value("counts/3 vocabulary/laboratory_items/value")
    why = "that is the number of one of the three categories"
    return verdict(inputs == items, why, f"{items} by its own log")


@test
def adaptive(found: Found) -> Finding:
    """Whether the rate depends on anything but the number of the epoch."""
    steps = sorted({fine_rate(1e-3, epoch) for epoch in range(50)}, reverse=True)
    why = "the rate is a fixed function of the epoch's number"
    return Finding(CONTRADICTED, why, ", ".join(f"{step:g}" for step in steps))


@test
def complete(found: Found) -> Finding:
    """Whether the text's logs reach the end of the fine-tuning."""
    last = max(row["epoch"] for row in QUOTES.values["logs"] if row["stage"] == "fine-tuning")
    asked = TrainingConfig().epochs
    why = f"its log breaks off in epoch {last} of the fine-tuning, before the result"
    return verdict(last >= asked, why, f"{last} of {asked} epochs")


# By the runs -------------------------------------------------------------------------------------


def learnt(found: Found, name: str) -> Run:
    """The run of a network that has learnt from histories; else no verdict may rest on it.

    Recall@20 has to lie above that of the most frequent codes, and that of the corrected network
    above its own after training on shuffled answers, both by whole paired intervals.

    Raises:
        Untestable: With the figure that shows that nothing was learnt, or if the test patients are
            too few.
    """
    run, number = found[name], found[name].metrics["patients"]
    if number < ENOUGH:
        raise Untestable(f"{patients(number)} test patients are too few")
    if "frequency" not in run.metrics["baselines"]:
        raise Untestable("the run lacks the figures of the most frequent codes")
    over = run.difference(run, "recall@20", theirs="frequency")
    if not over.above():
        raise Untestable(f"the network is no better than the most frequent codes: by {over}")
    fall = found["corrected"].difference(found["control"], "recall@20")
    if not fall.above():
        raise Untestable(f"the network learns no more from true answers than from others: {fall}")
    return run


@test
def ranks(found: Found, *, method: str, than: str) -> Finding:
    """Whether an embedding's reciprocal rank of held-out triples is at least double another's."""
    scores = found["knowledge-random"].metrics["ranking"]
    mine, theirs = (scores[name]["mrr"] for name in (method, than))
    ours = f"mean reciprocal rank {mine:.3f}, {than} {theirs:.3f}"
    why = "at least double is asked for; one training, without an interval"
    return verdict(mine > 2 * theirs, why, ours, against=False)


@test
def refined(found: Found) -> Finding:
    """Whether the F1 of every category is higher after its refinement than after joint training."""
    history = found["reported"].history
    joint = history.query("stage == 'joint'")
    if not len(joint):
        raise Untestable(NO_TABLE)
    gains = {}
    for name in cohorts.CATEGORIES:
        rows = history.query("stage == @name")
        if len(rows):
            gains[name] = float(rows.iloc[-1]["f1"] - joint.iloc[-1][f"f1 {name}"])
    words = ", ".join(f"{name} {gain:+.4f}" for name, gain in gains.items())
    why = "one training, without an interval"
    return verdict(min(gains.values()) > 0, why, f"change of F1: {words}", against=False)


@test
def worth(found: Found, *, run: str, without: str, key: str) -> Finding:
    """Whether laboratory results of the target visit add to a figure, by paired draws."""
    apart = learnt(found, without).difference(learnt(found, run), key)
    why = "those of the visit to predict, against those of the visit before"
    return verdict(apart.above(), why, f"{key} {apart}", [apart], against=apart.below())


@test
def beats(found: Found, *, run: str, baseline: str) -> Finding:
    """Whether the network of a run beats a baseline in recall@20 by an interval above 0."""
    mine = learnt(found, run)
    apart = mine.difference(mine, "recall@20", theirs=baseline)
    words = f"recall@20 {mine.value('recall@20')}, {baseline} {mine.value('recall@20', baseline)}"
    return verdict(apart.above(), f"difference {apart}", words, [apart], against=apart.below())
