"""The two protocols, field by field: every flaw is a setting that can be put back alone."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

Labs = Literal["none", "previous visit", "first day", "whole visit"]


@dataclass(frozen=True)
class Protocol:
    """How data are cut, what the model sees, how it is trained and chosen; corrected by default."""

    labs: Labs = "previous visit"
    """Laboratory items that go in. ``whole visit``: those of the very visit whose diagnoses are the
    answer, up to discharge, as reported; that is same-visit diagnosis, not prediction. ``first
    day``: those of its first 24 hours, a legitimate task of its own. ``previous visit``: history
    only.
    """

    split: Literal["random", "forced"] = "random"
    """``forced``: every code's first patient is put into training, as reported, so that test
    patients never have a new code and rare codes pile up in training.
    """

    vocabulary: Literal["training", "everyone"] = "training"
    """``everyone``: codes of all patients may be predicted, as reported. ``training``: only those
    seen in training; others count as missed.
    """

    selection: Literal["validation", "test"] = "validation"
    """Whose figures choose the epoch. ``test``, as reported: its figures are printed after every
    epoch of up to 500, the schedule is fitted to them, and the validation patients are never read.
    """

    held_out_pretraining: bool = True
    """Whether pre-training is scored on patients kept out of it; False, as reported: on its own."""

    laboratory_epoch: Literal["best", "last"] = "best"
    """Which epoch of the laboratory layer is kept; ``last``, as reported, is over-fitted."""

    keeps_dropout: bool = True
    """False, as reported: evaluation after the first epoch of pre-training leaves dropout off for
    good.
    """

    repeated_codes: bool = False
    """True, as reported: a code that stands twice at a visit after mapping has two shares of the
    attention.
    """

    graph: Literal["associated", "cooccurrence"] = "associated"
    """``cooccurrence``, as reported: an edge for every pair that ever met, so attention over
    hundreds of neighbours comes near to plain smoothing. ``associated``: the strongest neighbours
    by mutual information.
    """

    weighted: bool = True
    """False, as reported: the edge weights are computed and left unused."""

    attention: Literal["scaled", "normal"] = "scaled"
    """Start of the attention's score matrix; ``normal``, as reported, is N(0, 1) and saturates the
    softmax.
    """

    ordered: bool = True
    """False, as reported: the order of visits and the time between them are invisible."""

    loss: Literal["logits", "clipped"] = "logits"
    """``clipped``, as reported: log(sigmoid + 1e-8) by hand, which has no gradient where it is
    needed most.
    """

    def describe(self) -> dict[str, Any]:
        """Fields and their values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


CORRECTED = Protocol()
FIRST_DAY = Protocol(labs="first day")
REPORTED = Protocol(
    labs="whole visit",
    split="forced",
    vocabulary="everyone",
    selection="test",
    held_out_pretraining=False,
    laboratory_epoch="last",
    keeps_dropout=False,
    repeated_codes=True,
    graph="cooccurrence",
    weighted=False,
    attention="normal",
    ordered=False,
    loss="clipped",
)

#: The flaws, in the words of the page: field of the protocol -> title.
FLAWS = {
    "labs": "laboratory results of the visit to predict",
    "split": "training made to contain every code",
    "vocabulary": "vocabulary of all patients",
    "selection": "epoch chosen by the test patients",
    "laboratory_epoch": "last epoch of the laboratory layer",
    "keeps_dropout": "dropout lost in pre-training",
    "repeated_codes": "codes that stand twice",
    "graph": "every pair that ever met is an edge",
    "weighted": "edge weights unused",
    "attention": "attention saturated at the start",
    "ordered": "order and time of visits invisible",
    "loss": "loss by hand, clipped",
}


def with_flaw(name: str) -> Protocol:
    """The corrected protocol with one flaw of the reported one."""
    return replace(CORRECTED, **{name: getattr(REPORTED, name)})
