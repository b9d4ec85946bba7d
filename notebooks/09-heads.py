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
# # Decoder and initialisation
#
# Two things that the report did not vary: the initial weights of the network, and the likelihood of
# the decoder.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from reproduction.synthesis import ablations, results
from reproduction.tables import origin
from scoehr.files import check_seed

seed = check_seed(seed)
rows = results.rows(dataset, source, profile, seed)
origin(dataset, profile, seed)

# %% [markdown]
# ## Initial weights
#
# The report re-initialises all weights, and so overwrites the network's own initialisation near
# zero.

# %% tags=["hide-input"]
ablations.show(rows, "start")

# %% [markdown]
# ## Counts
#
# The report's decoder, a squared error on a ReLU, against a Poisson likelihood.

# %% tags=["hide-input"]
ablations.show(rows, "counts")

# %% [markdown]
# ## Presence
#
# The report's decoder, cross-entropy, and the paper's whole configuration.

# %% tags=["hide-input"]
ablations.show(rows, "presence")
