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
# # The paper's data: presence
#
# The paper models whether a patient has a code, not how often, and its scores are not those that
# the report's code computes. Its values for MIMIC-III stand beside runs of its published
# configuration.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from reproduction import figures
from reproduction.synthesis import ablations, reported, results, scores
from reproduction.tables import Table, Words, origin
from scoehr.files import check_seed

seed = check_seed(seed)
every = results.rows(dataset, source, profile, seed)
rows = ablations.pick(every, "presence")
origin(dataset, profile, seed)

# %% tags=["hide-input"]
Words(ablations.summary(every, "presence"))

# %% [markdown]
# (p1)=
# ## Beside the paper

# %% tags=["hide-input"]
if rows:
    keys = [*ablations.PAPER, *ablations.SEEING]
    models = list(scores.labelled(rows))
    said = {
        scores.title(key): {models[-1]: reported.paper().loc["ScoEHR", name]}
        for key, name in zip(ablations.PAPER, reported.paper().columns, strict=True)
        if "paper" in every
    }
    figures.show(
        figures.dots(scores.panels(rows, keys), scores.points(rows, keys), said),
        "Presence of codes: dots are runs here, diamonds the paper's values for MIMIC-III.",
    )

# %% tags=["hide-input"]
if rows:
    keys = [*ablations.PAPER, *ablations.MAIN[1:]]
    table = ablations.main_table(rows, {"the paper": ablations.of_paper()}, keys)
    display(Table(table, f"The paper's scores and ours on presence. {scores.caption(rows)}"))

# %% tags=["hide-input"]
Table(
    reported.paper(),
    "Published by the paper, on presence of codes in MIMIC-III: its model beside three generative "
    "adversarial networks",
)

# %% [markdown]
# Which model to prefer: [the contest](06-contest.ipynb). What the model is worth without an
# autoencoder: [size of the autoencoder](09-sizes.ipynb). The privacy scores of both studies:
# [privacy](10-privacy.ipynb).
