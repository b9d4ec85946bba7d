"""The claims of the study and the tests that judge them, by runs or by what the text itself states.

``claims.yml`` beside this module holds the claims, see :mod:`reproduction.claims`, and
``reported.json`` the values. A count or a figure of a log can be confirmed on MIMIC-IV alone; on
other data its claim cannot be tested, and the value of the run at hand stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from scipy import sparse

from companions.dualk import cohorts, evaluate, graph, models
from companions.dualk.cohorts import Records
from companions.dualk.embeddings import HAKE, EmbeddingConfig
from companions.dualk.experiments import ENOUGH, Run
from companions.dualk.protocols import REPORTED
from companions.dualk.train import fine_rate
from reproduction.claims import FAILS, HOLDS, OPEN, Finding, Ledger, Untestable
from reproduction.quotes import Quotes, find, text
from reproduction.tables import cell, patients

#: A figure on MIMIC-IV agrees with the reported one within this share of it.
TOLERANCE = 0.1
Found: TypeAlias = Mapping[str, Run]

QUOTES = Quotes(Path(__file__).with_name("reported.json"))
LEDGER = Ledger(Path(__file__).with_name("claims.yml"), QUOTES)
test = LEDGER.test


def verdict(holds: bool, why: str, ours: str = "–") -> Finding:
    """A finding that holds or fails."""
    return Finding(HOLDS if holds else FAILS, why, ours)


# Counts and logs ----------------------------------------------------------------------------------


def _on_mimic4(run: Run) -> bool:
    """Whether a run is from the whole of MIMIC-IV, as the study's."""
    phase = "1 admissions and diagnoses"
    read = run.metrics.get("account", {}).get(phase, {}).get("admissions_read", 0)
    whole = QUOTES.value(f"counts/{phase}/admissions_read/value")
    return run.experiment.dataset == "mimic4" and read >= 0.5 * whole


@test
def counted(found: Found, *, place: str) -> Finding:
    """Whether a count of the preparation is the reported one."""
    run = found["knowledge-forced"]
    try:
        ours = find(run.metrics["account"], place)
    except KeyError:
        raise Untestable("the data at hand lack what is counted") from None
    if not _on_mimic4(run):
        why = "only MIMIC-IV can confirm it; ours is of other data"
        return Finding(OPEN, why, text(ours))
    near = np.allclose(ours, QUOTES.value(f"counts/{place}/value"), rtol=TOLERANCE)
    return verdict(bool(near), f"to within {TOLERANCE:.0%}", text(ours))


@test
def logged(found: Found, *, stage: str, epoch: int, key: str) -> Finding:
    """Whether a figure of the training logs is the reported one."""
    run = found["reported"]
    rows = run.history[(run.history["stage"] == stage) & (run.history["epoch"] == epoch)]
    if key not in run.history.columns or not len(rows):
        raise Untestable("the run at hand has no such line")
    ours = float(rows.iloc[0][key])
    if run.experiment.dataset != "mimic4" or run.experiment.profile != "paper":
        why = "only MIMIC-IV at full size can confirm it; ours is of other data"
        return Finding(OPEN, why, cell(ours))
    logs = {(row["stage"], row["epoch"]): row for row in QUOTES.values["logs"]}
    theirs = logs[stage, epoch][key]
    near = abs(ours - theirs) <= TOLERANCE * abs(theirs)
    return verdict(near, f"to within {TOLERANCE:.0%}", cell(ours))


# Statements of the text, tried on the code --------------------------------------------------------


def _toy(
    protocol_weighted: bool, ordered: bool = False
) -> tuple[models.DuaLK, models.Batch, models.Graph]:
    """A small network of five codes with one patient of two visits, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = models.ModelConfig(
            features=6, width=8, decoder=4, weighted=protocol_weighted, ordered=ordered
        )
        model = models.DuaLK(
            torch.randn(6, 6), models.Sizes(5, {"hematology": 3}, uses_labs=False), config
        ).eval()
    edges = torch.tensor([[1, 2, 3, 4, 5, 1], [2, 3, 4, 5, 1, 4]])
    batch = models.Batch(
        torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[1, 2]]), torch.tensor([[0.5, 0.0]]),
        torch.zeros(1, 3), torch.zeros(1, 5), torch.zeros(1, 5),
    )  # fmt: skip
    return model, batch, models.Graph(edges, torch.ones(6, 1) if protocol_weighted else None)


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
    run = found["knowledge-forced"]
    cells = np.array([[0, 1, 0, 1], [1, 0, 1, 1], [1, 1, 0, 0]])
    edges = [
        graph.cooccurrence(_small(cells[order]), np.array([0])) for order in ([0, 1, 2], [2, 1, 0])
    ]
    ones, others = (sorted(zip(e.source, e.target, e.weight, strict=True)) for e in edges)
    same = np.allclose(ones, others)
    number = run.metrics["account"]["6 graph"]["edges"]
    why = "an edge joins codes of one visit; visits in another order give the same graph"
    return verdict(not same, why, f"{number:,} edges")


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
    return Finding(FAILS, why, ", ".join(f"{step:g}" for step in steps))


@test
def beyond_reach(found: Found, *, why: str) -> Finding:
    """Nothing here can test it."""
    raise Untestable(why)


@test
def complete(found: Found) -> Finding:
    """Whether the text's logs reach the end of the fine-tuning."""
    last = max(row["epoch"] for row in QUOTES.values["logs"] if row["stage"] == "fine-tuning")
    stages = found["reported"].history["stage"].nunique()
    why = f"its log breaks off in epoch {last} of the fine-tuning, before the result"
    return Finding(FAILS, why, f"{stages} stages run here")


# By the runs --------------------------------------------------------------------------------------


def _enough(run: Run) -> None:
    number = run.metrics["patients"]
    if number < ENOUGH:
        raise Untestable(f"{patients(number)} test patients are too few")


@test
def ranks(found: Found, *, method: str, than: str) -> Finding:
    """Whether an embedding's reciprocal rank of held-out triples is at least double another's."""
    scores = found["knowledge-random"].metrics["ranking"]
    mine, theirs = (scores[name]["mrr"] for name in (method, than))
    ours = f"mean reciprocal rank {mine:.3f}, {than} {theirs:.3f}"
    return verdict(mine > 2 * theirs, "at least double is asked for", ours)


@test
def loss_falls(found: Found, *, run: str, stage: str) -> Finding:
    """Whether a stage ends with a lower training loss than it began with."""
    losses = found[run].history.query("stage == @stage")["train_loss"].to_numpy()
    if len(losses) < 2:
        raise Untestable(f"stage {stage} has fewer than two epochs here")
    ours = f"training loss {losses[0]:.3f}, at the end {losses[-1]:.3f}"
    return verdict(losses[-1] < losses[0], "", ours)


@test
def refined(found: Found) -> Finding:
    """Whether the F1 of every category is higher after its refinement than after joint training."""
    history = found["reported"].history
    joint = history.query("stage == 'joint'")
    if not len(joint):
        raise Untestable("the data at hand have no laboratory table")
    gains = {}
    for name in cohorts.CATEGORIES:
        rows = history.query("stage == @name")
        if len(rows):
            gains[name] = float(rows.iloc[-1]["f1"] - joint.iloc[-1][f"f1 {name}"])
    words = ", ".join(f"{name} {gain:+.4f}" for name, gain in gains.items())
    return verdict(min(gains.values()) > 0, "", f"change of F1: {words}")


@test
def recall_rises(found: Found, *, run: str) -> Finding:
    """Whether recall@20 after the last epoch of fine-tuning exceeds that after the first."""
    history = found[run].history.query("stage == 'fine-tuning'")["recall@20"].to_numpy()
    ours = f"from {history[0]:.3f} to {history[-1]:.3f}"
    return verdict(history[-1] > history[0], "", ours)


@test
def worth(found: Found, *, run: str, without: str, key: str) -> Finding:
    """Whether laboratory results of the target visit add to a figure, by paired draws."""
    _enough(found["corrected"])
    apart = found[without].difference(found["corrected"], key)
    why = "those of the visit to predict, against those of the visit before"
    return verdict(apart.above(), why, f"{key} {apart}")


@test
def beats(found: Found, *, run: str, baseline: str) -> Finding:
    """Whether the network of a run beats a baseline in recall@20 by an interval above 0."""
    mine = found[run]
    _enough(mine)
    apart = mine.difference(mine, "recall@20", theirs=baseline)
    words = f"recall@20 {mine.value('recall@20')}, {baseline} {mine.value('recall@20', baseline)}"
    return verdict(apart.above(), f"difference {apart}", words)
