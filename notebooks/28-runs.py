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
# # Find a run
#
# Every published run of the three studies, with the main score of its kind and what is kept of it:
# *weights*, synthetic *patients*, or scores, losses and settings alone.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from reproduction import catalogue
from reproduction.synthesis import results
from scoehr.files import check_seed

seed = check_seed(seed)
display(results.origin({}, dataset=dataset, profile=profile, seed=seed))
catalogue.searchable(catalogue.published())

# %% [markdown]
# ## A trained model in two lines
#
# By the name of its row; `dataset`, `profile` and `seed` choose among several.

# %%
from reproduction import catalogue
from scoehr import InputError

try:
    model = catalogue.load("thinning")
    drawn = model.sample(3, seed=1, progress=False).to_long()
    display(drawn.rename(columns={"patient_id": "patient"}).head(8))
except InputError as error:
    print(error)

# %% [markdown]
# A run that is published without its weights says how to make them:

# %%
try:
    catalogue.load("thinning", seed=1)
except InputError as error:
    print(error)

# %% [markdown]
# ## Scores, losses and settings
#
# What a run has besides weights is read in the same way.

# %%
try:
    run = catalogue.find("thinning", seed=1)
    print(run.id, f"{run.costs['parameters']:,} parameters")
    losses = run.history[["stage", "epoch", "train_loss", "validation_loss"]]
    display(losses.tail(3).round(2))
except InputError as error:
    print(error)
