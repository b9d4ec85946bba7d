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
# # Intensive care: the cohort
#
# The LSTM attack study asks two questions. Can death in hospital be predicted from the first 48
# hours in intensive care? And how small a change of a patient's measurements reverses that
# prediction? It uses 13 laboratory values and 6 vital signs of MIMIC-III, after Sun et al. (2018)
# and Tang et al. (2018). This page shows the stays; the next two show [the
# models](18-mortality-model) and [the attack](19-mortality-attack).
#
# MIMIC-III needs credentials. The same code reads it, from files or from a PostgreSQL server; what
# is published here was made from the open data of the PhysioNet/CinC Challenge 2012, whose stays
# come from the same hospital.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from companions.mortality_attack import results
from reproduction import figures
from reproduction.tables import Table, account
from scoehr.files import check_seed

seed = check_seed(seed)
runs = results.runs(dataset, source, profile, seed, ["cohort"])
cohort = runs["cohort"]
results.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (m1)=
# ## From tables to stays
#
# DuckDB streams the tables as they are, within a memory limit. Values outside plausible limits are
# dropped, Fahrenheit becomes Celsius, and the rest is averaged by hour. MIMIC-III stays are those
# of adults who were in hospital and in intensive care for a day. The prediction is made after 48
# hours, so a stay must last that long; only the first one of an admission counts.

# %% tags=["hide-input"]
Table(
    account(cohort.metrics["account"]), "What was read, what was left out and why, and what is left"
)

# %% [markdown]
# ## What is measured
#
# The 19 series of the study come first, then those that the Challenge adds. The Challenge has
# neither ionised calcium nor oxygen saturation by pulse oximetry. Arterial saturation is a series
# of its own: it is another measurement, and never replaces pulse oximetry.

# %% tags=["hide-input"]
Table(
    results.availability(cohort),
    "Each series: stays and hours with a value, and the values after the plausibility limits",
)

# %% tags=["hide-input"]
figures.show(
    results.measured(cohort),
    "Share of stays with a value in each hour. What a model reads elsewhere has been filled in.",
)

# %% [markdown]
# (m2)=
# ## How gaps are filled
#
# The study interpolates between the measurements of the whole admission, in both directions, and
# cuts out the window afterwards. So the last hours of the window depend on values measured after
# the prediction, and hours before the first measurement get a value that nobody had. The corrected
# protocol carries the last value forward, and tells the model what was measured and how long ago.
# The Challenge's data end after 48 hours, so there interpolation cannot reach beyond the
# prediction; on MIMIC-III and in the simulation it does.

# %% tags=["hide-input"]
figures.show(
    results.filling(),
    "The reported filling (dashed) follows values that are measured after the prediction; the "
    "corrected one (solid) knows only what has been measured. One simulated stay that ended in "
    "death.",
)

# %% [markdown]
# ## Two protocols
#
# Nine features of the reported protocol bear on its scores. Each is an option here, and [the next
# page](18-mortality-model) adds them one by one. Stays are split by patient: 64 % for training, 16
# % for validation, 20 % for testing. Normalisation is fitted to training stays alone. The code
# stops if a patient is in two parts, or if a statistic has seen a stay that it must not see.
