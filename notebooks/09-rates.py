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
# # Learning rate
#
# The report trained for thirty epochs at each rate. It found the smallest best, the one whose
# patients have the fewest codes. Its log-cluster for the largest rate is impossible: that training
# had diverged.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from reproduction.synthesis import ablations, results, scores
from reproduction.tables import Words, origin
from scoehr.files import check_seed

seed = check_seed(seed)
rows = results.rows(dataset, source, profile, seed)
origin(dataset, profile, seed)

# %% [markdown]
# (t3)=
# ## What the rate changes

# %% tags=["hide-input"]
ablations.show(rows, "rates")

# %% tags=["hide-input"]
if group := ablations.pick(rows, "rates"):
    ended = [
        f"rate {label}: {sum(run.verdict == 'diverged' for run in runs)} of {len(runs)} diverged, "
        f"validation loss {scores.over_seeds(runs, 'loss.score')}"
        for label, runs in group.items()
    ]
    display(Words(f"How training ended: {'; '.join(ended)}."))
