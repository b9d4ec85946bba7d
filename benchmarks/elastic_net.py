"""How small a change the ensemble of attacks needs, beside the elastic-net attack of foolbox.

Both attack the published bi-LSTM on the same held-out stays of the Challenge 2012, cut to the box
that the library needs, measured cells alone. Written to ``benchmarks/elastic_net.json``. Run with
``python -m benchmarks.elastic_net SOURCE``, the set of the Challenge.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import foolbox
import numpy as np
import torch
from torch import Tensor, nn

from companions.mortality_attack import experiments
from companions.mortality_attack.ensemble import strongest
from companions.mortality_attack.models import Classifier
from companions.mortality_attack.protocol import Series
from companions.mortality_attack.train import tensors
from scoehr.files import write_json

STAYS, STEPS, SEARCHES = 80, 300, 7
ROW = "worst-bilstm-study"


class OfValues(nn.Module):
    """A classifier as a function of the values alone, with the logits that foolbox expects."""

    def __init__(self, model: Classifier, series: Series):
        super().__init__()
        self.model = model
        _, self.mask, self.static, _ = tensors(series)

    def forward(self, values: Tensor) -> Tensor:
        """Scores ``(B, 2)`` of survival, 0, and of death."""
        score = self.model.margin(self.model(values, self.mask, self.static))
        return torch.stack([torch.zeros_like(score), score], 1)


def library(model: Classifier, series: Series) -> np.ndarray:
    """L1 norm of foolbox's change of each stay, infinite where it finds none, ``(n,)``."""
    values, _, _, died = tensors(series)
    attack = foolbox.attacks.EADAttack(
        steps=STEPS, binary_search_steps=SEARCHES, initial_stepsize=0.02, regularization=0.01,
        decision_rule="L1", abort_early=False,
    )  # fmt: skip
    wrapped = foolbox.PyTorchModel(OfValues(model, series).eval(), bounds=(0, 1))
    wrong = foolbox.criteria.Misclassification(died.long())
    _, moved, turned = attack(wrapped, values, wrong, epsilons=None)
    return np.where(turned.numpy(), (moved - values).abs().sum((1, 2)).numpy(), np.inf)


def measure(source: str) -> dict[str, Any]:
    """Norms of both on the first held-out stays."""
    torch.set_num_threads(1)
    row = experiments.plan("physionet2012", "standard", 0, source)[ROW]
    first = row.row(row.victims[0])
    data, model = first.prepared(), experiments.victim(first)
    assert row.ensemble
    series = data.test.take(np.arange(STAYS))
    series = replace(series, values=np.clip(series.values, 0, 1) * series.mask)
    begin = time.process_time()
    found = strongest(model, series, data.statistics, row.attack, row.ensemble, progress=False)
    middle = time.process_time()
    theirs = library(model, series.take(found.rows))
    ours = np.where(found.success, np.abs(found.best).sum((1, 2)), np.inf)
    return {
        "stays": len(found), "steps": STEPS, "searches": SEARCHES, "foolbox": foolbox.__version__,
        "ours": float(np.median(ours)), "theirs": float(np.median(theirs)),
        "ratio": float(np.median(ours / theirs)), "largest": float((ours / theirs).max()),
        "seconds": {"ours": middle - begin, "theirs": time.process_time() - middle},
    }  # fmt: skip


if __name__ == "__main__":
    write_json(Path(__file__).with_suffix(".json"), measure(sys.argv[1]))
