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
# # What was run, beside the studies
#
# A verdict on a model is worth no more than the scale that the model was run at. This page has the
# scale of every run that the book shows: the width of the network, the patients it learned from,
# the updates of its weights and the steps of its sampler, beside what the studies had. A **factor**
# is ours divided by theirs.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from companions.dualk import results as dualk
from companions.mortality_attack import results as mortality
from reproduction.synthesis import results, scale
from reproduction.tables import Table, Words
from scoehr.files import check_seed

seed = check_seed(seed)
setting = {"dataset": dataset, "source": source, "profile": profile, "seed": seed}
rows = results.rows(**setting)
studied = {name: rows[name][0] for name in scale.STUDIED if name in rows}
display(results.origin(rows, dataset=dataset, profile=profile, seed=seed))
Words("\n\n".join(map(scale.in_words, studied.values())))

# %% [markdown]
# (regime)=
# ## The regime of a study
#
# A profile may make a network narrower and change nothing else: batch, updates, learning rate and
# its schedule, sampler and steps are the study's. Rows that depart from that are marked †, and no
# claim is judged by them.

# %% tags=["hide-input"]
Words(scale.departures(rows))

# %% [markdown]
# ## The models of the paper and of the report

# %% tags=["hide-input"]
for run in studied.values():
    display(Table(scale.beside(run), f"{run.experiment['title']}, random seed {seed}", digits=9))

# %% [markdown]
# ## Every row
#
# Where a network is narrower than at full scale, its width is followed by the full one.

# %% tags=["hide-input"]
Table(scale.table(rows), f"Rows of data set {dataset} that have finished runs")

# %% [markdown]
# ## The companions

# %% tags=["hide-input"]
attacked, diagnosed = mortality.runs(**setting), dualk.runs(**setting)
for title, found, table in (
    ("The LSTM attack study", attacked, mortality.scale),
    ("DuaLK", diagnosed, dualk.scale),
):
    made = next(iter(found.values())).experiment
    caption = f"{title}: data set {made.dataset}, profile {made.profile}, {len(found)} runs"
    display(Table(table(found), caption, digits=9))

# %% [markdown]
# What the runs cost:
# [Costs](12-costs.ipynb).
