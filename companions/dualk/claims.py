"""The claims of the study, each with a verdict that is computed: from the runs, or from what the text itself says.

``claims.yml`` beside this module holds the claims in the shape of ``reproduction/synthesis/claims.yml``; ``reported.json`` what was
printed. A count or a figure of a log can be confirmed on MIMIC-IV alone; on other data its claim cannot be tested, and
the value of the run at hand stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
import yaml

from companions.dualk import cohorts, graph, models
from companions.dualk.cohorts import Records
from companions.dualk.embeddings import HAKE, EmbeddingConfig
from companions.dualk.evaluate import Value
from companions.dualk.experiments import ENOUGH, Run
from companions.dualk.protocols import REPORTED
from reproduction import figures
from reproduction.synthesis.claims import Finding, Untestable, attempt, tabulate
from scoehr.files import read_json

CLAIMS, PRINTED = (Path(__file__).parent / name for name in ("claims.yml", "reported.json"))
#: A figure on MIMIC-IV agrees with the printed one within this share of it.
TOLERANCE = 0.1
Found: TypeAlias = Mapping[str, Run]


@cache
def printed() -> dict[str, Any]:
    """All of ``reported.json``."""
    return read_json(PRINTED)


def place(path: str, within: Any = None) -> Any:
    """What stands at a path such as "counts/6 graph/edges/value"; KeyError if nothing does."""
    found = printed() if within is None else within
    for part in path.split("/"):
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


def read() -> dict[str, Any]:
    """``claims.yml``: ``evidence`` and ``claims``."""
    return yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))


def ledger(found: Found) -> pd.DataFrame:
    """Every claim with its verdict, as :func:`reproduction.synthesis.claims.ledger` has them; ``found`` maps names to finished runs."""
    return tabulate(read()["claims"], lambda claim, _: judge(claim, found), quoted)


def judge(claim: Mapping[str, Any], found: Found) -> Finding:
    """The finding of one claim."""
    return attempt(claim, found, TESTS, {"found": found})


def quoted(text: str) -> str:
    """Printed values in words: ``{place}`` gives way to the value there."""

    def value(path: str) -> str:
        here = place(path)
        return (
            " × ".join(f"{part:,}" for part in here)
            if isinstance(here, list)
            else figures.cell(here, digits=6)
        )

    return re.sub(r"\{(.+?)\}", lambda match: value(match[1]), text) or "–"


def said(value: Value) -> str:
    """A figure with its interval in words."""
    around = (
        "" if np.isnan(value.low) else f" [{figures.cell(value.low)}, {figures.cell(value.high)}]"
    )
    return figures.cell(value.value) + around


# Counts and logs -------------------------------------------------------------------------------------------------


def _on_mimic4(run: Run) -> bool:
    """Whether a run is from the whole of MIMIC-IV, as the study's."""
    account = run.metrics.get("account", {})
    read_ = account.get("1 admissions and diagnoses", {}).get("admissions_read", 0)
    return run.experiment.dataset == "mimic4" and read_ >= 0.5 * place(
        "counts/1 admissions and diagnoses/admissions_read/value"
    )


def counted(found: Found, *, place: str) -> Finding:
    """Whether a count of the preparation is the printed one."""
    run, path = found["knowledge-forced"], globals()["place"]
    theirs = path(f"counts/{place}/value")
    try:
        ours = path(place, run.metrics["account"])
    except KeyError:
        raise Untestable("the data at hand lack what is counted") from None
    words = " × ".join(f"{n:,}" for n in ours) if isinstance(ours, list) else f"{ours:,}"
    if not _on_mimic4(run):
        return Finding(
            "cannot be tested", "only MIMIC-IV can confirm it; ours is of other data", words
        )
    near = np.allclose(ours, theirs, rtol=TOLERANCE)
    return Finding("holds" if near else "fails", f"to within {TOLERANCE:.0%}", words)


def logged(found: Found, *, stage: str, epoch: int, key: str) -> Finding:
    """Whether a figure of the training logs is the printed one."""
    run = found["reported"]
    rows = run.history[(run.history["stage"] == stage) & (run.history["epoch"] == epoch)]
    if key not in run.history.columns or not len(rows):
        raise Untestable("the run at hand has no such line")
    ours, row = float(rows.iloc[0][key]), next(
        row for row in printed()["logs"] if (row["stage"], row["epoch"]) == (stage, epoch)
    )  # fmt: skip
    if run.experiment.dataset != "mimic4" or run.experiment.profile != "paper":
        return Finding(
            "cannot be tested",
            "only MIMIC-IV at full size can confirm it; ours is of other data",
            figures.cell(ours),
        )
    near = abs(ours - row[key]) <= TOLERANCE * abs(row[key])
    return Finding("holds" if near else "fails", f"to within {TOLERANCE:.0%}", figures.cell(ours))


# What the text says, tried on the code ---------------------------------------------------------------------------


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


@torch.no_grad()
def weights_matter(found: Found) -> Finding:
    """Whether other edge weights change what the network of the reported protocol says."""
    del found
    model, batch, edges = _toy(REPORTED.weighted)
    changed = edges._replace(
        weights=torch.linspace(0, 5, 6)[:, None] if edges.weights is not None else None
    )
    moved = float((model(edges, batch) - model(changed, batch)).abs().max())
    return Finding(
        "holds" if moved else "fails",
        "the weights are computed and never given to the network",
        f"change of the logits {moved:g}",
    )


@torch.no_grad()
def order_matters(found: Found) -> Finding:
    """Whether the network of the reported protocol tells an order of visits from another."""
    del found
    model, batch, edges = _toy(REPORTED.weighted, REPORTED.ordered)
    moved = float(
        (model(edges, batch) - model(edges, batch._replace(visits=batch.visits.flip(1))))
        .abs()
        .max()
    )
    return Finding(
        "holds" if moved > 1e-5 else "fails",
        "visits in reversed order give the same answer"
        if moved <= 1e-5
        else "reversed visits give another answer",
        f"change of the logits {moved:.1g}",
    )


def sequence_matters(found: Found) -> Finding:
    """Whether the disease graph changes when the visits of every patient are put in another order."""
    run = found["knowledge-forced"]
    cells = np.array([[0, 1, 0, 1], [1, 0, 1, 1], [1, 1, 0, 0]])
    edges = [
        graph.cooccurrence(_small(cells[order]), np.array([0])) for order in ([0, 1, 2], [2, 1, 0])
    ]
    ones, others = (sorted(zip(e.source, e.target, e.weight, strict=True)) for e in edges)
    same = np.allclose(ones, others)
    number = run.metrics["account"]["6 graph"]["edges"]
    why = "an edge joins codes of one visit; visits in another order give the same graph"
    return Finding("fails" if same else "holds", why, f"{number:,} edges")


def _small(cells: np.ndarray) -> Records:
    """One patient with these visits."""
    from scipy import sparse

    codes, nothing = (
        sparse.csr_array(cells.astype(np.int16)),
        sparse.csr_array((len(cells), 0), dtype=bool),
    )
    names = np.array([f"00{n}" for n in range(cells.shape[1])])
    none = np.array([], dtype=str)
    return Records(
        "simulated", np.array([1]), np.array([0, len(cells)]), np.arange(len(cells), dtype=np.float32), names,
        cells.shape[1], codes, np.array([], dtype=int), none, none, nothing, nothing, {},
    )  # fmt: skip


@torch.no_grad()
def hyperbolic(found: Found) -> Finding:
    """Whether HAKE's score is other than polar: unmoved by a whole turn of any phase, as angles of a plane are."""
    del found
    torch.manual_seed(0)
    model = HAKE(4, 2, EmbeddingConfig(dimensions=5))
    head, relation, tail = torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([2, 3])
    before = model(head, relation, tail)
    model.phase.data[0] += 2 * model.span  # a whole turn of all phases of one entity
    turned = float((model(head, relation, tail) - before).abs().max())
    why = "it is polar: moduli and phases, in which a whole turn changes nothing"
    return Finding(
        "fails" if turned < 1e-4 else "holds",
        why,
        f"change of the score by a whole turn {turned:.1g}",
    )


def macro(found: Found) -> Finding:
    """Whether the F1 printed is a macro average: the two differ on a small example, and the code takes the weighted."""
    del found
    from companions.dualk.evaluate import _weighted_f1, chosen_by_oracle

    scores = np.array([[3.0, 2, 1], [3, 1, 2], [3, 2, 1]])
    true = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]], dtype=bool)
    made = chosen_by_oracle(scores, true)
    both = made.sum(axis=0) + true.sum(axis=0)
    each = np.where(both > 0, 2 * (made & true).sum(axis=0) / np.maximum(both, 1), 1.0)
    weighted = float(_weighted_f1(np.ones((1, 3), dtype=np.float32), scores, true)[0])
    equal = abs(weighted - each.mean()) < 1e-9
    why = "the average is weighted by how often a code is true, and the number of codes of each patient is given away"
    return Finding(
        "holds" if equal else "fails",
        why,
        f"on an example weighted {weighted:.2f}, macro {each.mean():.2f}",
    )


def matched(found: Found) -> Finding:
    """Whether as many codes were matched as printed: that number is all codes, unmatched ones included."""
    del found
    counts = printed()["counts"]
    codes, without = (
        counts["3 vocabulary"]["codes"]["value"],
        counts["4 names"]["codes_without_title"]["value"],
    )
    holds = counts["4 names"]["codes_matched"]["value"] == codes - without
    return Finding(
        "holds" if holds else "fails",
        "unmatched codes are counted as matched",
        f"{codes - without:,} matched",
    )


def laboratory_inputs(found: Found) -> Finding:
    """Whether the number of laboratory inputs in the text is that of the printed vocabulary."""
    del found
    text = printed()["text"]["laboratory inputs"]["value"]
    items = printed()["counts"]["3 vocabulary"]["laboratory_items"]["value"]
    why = "that is the number of one of the three categories"
    return Finding("holds" if text == items else "fails", why, f"{items} by its own log")


def adaptive(found: Found) -> Finding:
    """Whether the rate depends on anything but the number of the epoch."""
    del found
    from companions.dualk.train import fine_rate

    steps = sorted({fine_rate(1e-3, epoch) for epoch in range(50)}, reverse=True)
    why = "the rate is a fixed function of the epoch's number"
    return Finding("fails", why, ", ".join(f"{step:g}" for step in steps))


def beyond_reach(found: Found, *, why: str) -> Finding:
    """Nothing here can test it."""
    del found
    raise Untestable(why)


def complete(found: Found) -> Finding:
    """Whether the text's logs reach the end of the fine-tuning."""
    last = max(row["epoch"] for row in printed()["logs"] if row["stage"] == "fine-tuning")
    stages = found["reported"].history["stage"].nunique()
    return Finding(
        "fails",
        f"its log breaks off in epoch {last} of the fine-tuning, before the result",
        f"{stages} stages run here",
    )


# What the runs say -----------------------------------------------------------------------------------------------


def _enough(run: Run) -> None:
    patients = run.metrics["patients"]
    if patients < ENOUGH:
        raise Untestable(f"{figures.patients(patients)} test patients are too few")


def ranks(found: Found, *, method: str, than: str) -> Finding:
    """Whether an embedding ranks held-out triples clearly better than another: its reciprocal rank at least double."""
    scores = found["knowledge-random"].metrics["ranking"]
    mine, theirs = (scores[name]["mrr"] for name in (method, than))
    ours = f"mean reciprocal rank {mine:.3f}, {than} {theirs:.3f}"
    return Finding("holds" if mine > 2 * theirs else "fails", "at least double is asked for", ours)


def loss_falls(found: Found, *, run: str, stage: str) -> Finding:
    """Whether a stage ends with a lower training loss than it began with."""
    losses = found[run].history.query("stage == @stage")["train_loss"].to_numpy()
    if len(losses) < 2:
        raise Untestable(f"stage {stage} has fewer than two epochs here")
    return Finding(
        "holds" if losses[-1] < losses[0] else "fails",
        "",
        f"training loss {losses[0]:.3f}, at the end {losses[-1]:.3f}",
    )


def refined(found: Found) -> Finding:
    """Whether the F1 of every category is higher after its own refinement than after joint pre-training."""
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
    return Finding("holds" if min(gains.values()) > 0 else "fails", "", f"change of F1: {words}")


def recall_rises(found: Found, *, run: str) -> Finding:
    """Whether the recall@20 printed after the last epoch of fine-tuning exceeds that after the first."""
    history = found[run].history.query("stage == 'fine-tuning'")["recall@20"].to_numpy()
    return Finding(
        "holds" if history[-1] > history[0] else "fails",
        "",
        f"from {history[0]:.3f} to {history[-1]:.3f}",
    )


def worth(found: Found, *, run: str, without: str, key: str) -> Finding:
    """Whether laboratory results of the target visit add to a figure; on the same test patients, by paired draws."""
    del run
    _enough(found["corrected"])
    apart = found[without].difference(found["corrected"], key)
    why = "those of the visit to predict, against those of the visit before"
    return Finding("holds" if apart.low > 0 else "fails", why, f"{key} {said(apart)}")


def beats(found: Found, *, run: str, baseline: str) -> Finding:
    """Whether the network of a run beats a baseline on its test patients in recall@20: its interval excludes 0."""
    mine = found[run]
    _enough(mine)
    apart = mine.difference(mine, "recall@20", theirs=baseline)
    words = f"recall@20 {said(mine.value('recall@20'))}, {baseline} {said(mine.value('recall@20', baseline))}"
    return Finding("holds" if apart.low > 0 else "fails", f"difference {said(apart)}", words)


TESTS: dict[str, Callable[..., Finding]] = {
    test.__name__: test
    for test in (
        counted, logged, weights_matter, order_matters, sequence_matters, hyperbolic, macro, matched,
        laboratory_inputs, adaptive, beyond_reach, complete, ranks, loss_falls, refined, recall_rises, worth, beats,
    )
}  # fmt: skip
