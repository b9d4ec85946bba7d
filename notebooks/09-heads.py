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
# # The decoder and the start
#
# What the report did not vary: where the weights of the network start, and what the decoder means.

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
# ## The start of the network
#
# The report re-initialises all weights, over the start near zero that the network comes with.

# %% tags=["hide-input"]
ablations.show(rows, "start")

# %% [markdown]
# ## Counts
#
# With the report's squared error on a ReLU, and with a Poisson likelihood.

# %% tags=["hide-input"]
ablations.show(rows, "counts")

# %% [markdown]
# ## Presence
#
# With the report's head, with cross-entropy, and in the paper's whole configuration.

# %% tags=["hide-input"]
ablations.show(rows, "presence")
