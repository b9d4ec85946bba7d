# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Every claim and its verdict
#
# Every number and conclusion of the three studies in our words, with a verdict that is computed
# each time the book is made: from runs under several random seeds, or from the reported values
# where they suffice. Reported values can refute a claim; they confirm only what is claimed of the
# reported patients themselves. Intervals are not corrected for the number of claims: of twenty
# differences that do not exist, one is found by chance. The last column leads to the evidence.
#
# | verdict | rule |
# |---|---|
# | holds | the 95 % interval lies on the claimed side, or the reported values show it |
# | contradicted | it lies on the other side, or arithmetic refutes the claim |
# | not supported | the same, but by runs on other data than the study's, which need credentials |
# | not shown | it leaves both open; with how much more would settle a difference as found |
# | cannot be tested | no run at hand may decide it, with the reason |
#
# A claim about a trained model is judged by runs in the regime of its study alone: its batch,
# epochs, learning rate, schedule, sampler and steps, with a narrower network at most. A run that
# departs from that is marked † wherever it stands, and the claim *cannot be tested*. Nor can it
# where some of the networks compared are narrower than in their studies and others are not.
# [Sampling](04-sampling.ipynb) shows how much steps and width change.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from companions.dualk import results as dualk_results
from companions.mortality_attack import claims as mortality
from companions.mortality_attack import results as mortality_results
from reproduction.claims import folded
from reproduction.synthesis import results
from reproduction.synthesis.claims import LEDGER
from reproduction.tables import origin
from scoehr.files import check_seed

seed = check_seed(seed)
setting = {"dataset": dataset, "source": source, "profile": profile, "seed": seed}
origin(dataset, profile, seed)

# %% tags=["hide-input"]
ledgers = {
    "ScoEHR, the paper and the report": LEDGER.table(results.rows(**setting)),
    "The LSTM attack study": mortality.LEDGER.table(mortality_results.runs(**setting)),
    "DuaLK": dualk_results.judged(**setting),
}
for title, table in ledgers.items():
    display(folded(title, table))
