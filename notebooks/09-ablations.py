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
# # Ablations
#
# The report changed one setting at a time and drew conclusions from the order of the rows: the
# [size of the autoencoder](09-sizes.ipynb), the [learning rate](09-rates.ipynb), the [number of
# epochs](09-epochs.ipynb). Here each row is run again, beside [other decoders and another
# initialisation](09-heads.ipynb).

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd

from reproduction.synthesis import ablations, results
from reproduction.tables import Table, Words, origin
from scoehr.files import check_seed

seed = check_seed(seed)
rows = results.rows(dataset, source, profile, seed)
origin(dataset, profile, seed)

# %% tags=["hide-input"]
reported = ("sizes", "rates", "epochs")
levels = pd.concat([ablations.level(rows, which) for which in reported])
pairs = pd.concat([ablations.order(rows, which) for which in reported])
absent = [line for which in ablations.SWEEPS if (line := ablations.lacking(rows, which))]
lines = [
    ablations.level_summary(levels),
    ablations.order_summary(pairs) if len(pairs) else "",
    f"By chance alone one difference in twenty would have an interval without 0: "
    f"{len(pairs) / 20:.0f} of these."
    if len(pairs)
    else "",
    f"{len(absent)} of {len(ablations.SWEEPS)} sweeps still have rows that have not been run."
    if absent
    else "",
]
Words("\n".join(f"- {line}" for line in lines if line))

# %% [markdown]
# ## The sweeps in one table
#
# Each sweep answers three questions. *Level*: is our row as near to the reported value as the
# report's two runs of one model are to each other? *Order*: does our difference have the reported
# sign, and an interval that excludes 0? And which row does a better score choose? Only rows in the
# report's regime count: its steps, batch, epochs, schedule and sampler, with at most a narrower
# network. Rows marked † are not in it.

# %% tags=["hide-input"]
Table(
    ablations.overview(rows),
    "A row a sweep: how much of the reported level and order is found; the best row stands in "
    "brackets where it cannot be told from the next",
)
