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
# # The studies' tables and figures
#
# Every table and figure of the three studies, with its place in this book. Click a line to see what
# is reported, ours beside it, and what the two say together. Reported figures are redrawn from
# their numbers.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from companions.dualk import exhibits as dualk
from companions.dualk import results as dualk_results
from companions.mortality_attack import exhibits as mortality
from companions.mortality_attack import results as mortality_results
from reproduction.exhibits import page, show_curves
from reproduction.synthesis import exhibits, results
from reproduction.tables import Html
from scoehr.files import check_seed

seed = check_seed(seed)
setting = {"dataset": dataset, "source": source, "profile": profile, "seed": seed}
rows = results.rows(**setting)
display(results.origin(rows, dataset=dataset, profile=profile, seed=seed))
studies = exhibits.all_exhibits(rows)
studies |= mortality.all_exhibits(mortality_results.runs(**setting))
studies |= dualk.all_exhibits(dualk_results.runs(**setting))
Html("\n".join(page(title, found) for title, found in studies.items()))

# %% [markdown]
# ## The reported curves, drawn beside ours
#
# Dashed: reported, at the epochs whose numbers are known. Solid: the runs here.

# %% tags=["hide-input"]
show_curves([exhibit for found in studies.values() for exhibit in found])

# %% [markdown]
# Which claims hold: [the first page](00-answer.ipynb).
