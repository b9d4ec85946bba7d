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
# The LSTM attack study asks two things. Can death in hospital be predicted from the first 48 hours
# in intensive care? And how little has to change in a patient's measurements to turn that
# prediction? It uses 13 laboratory values and 6 vital signs of MIMIC-III, after Sun et al. (2018)
# and Tang et al. (2018). This page shows the stays; the next two [the models](18-mortality-model)
# and [the attack](19-mortality-attack).
#
# MIMIC-III needs credentials. The same code reads it, from files or from a PostgreSQL server; what
# is published here was made from the open data of the PhysioNet/CinC Challenge 2012, whose stays
# were taken from the same hospital.

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
# DuckDB reads the tables as they are and streams them, within a memory limit. Values outside
# plausible limits are dropped, Fahrenheit becomes Celsius, and what is left is averaged by hour.
# MIMIC-III stays are those of adults who were in hospital and in intensive care for a day; the
# prediction is made after 48 hours, so a stay must last so long, and the first one of an admission
# counts.

# %% tags=["hide-input"]
Table(
    account(cohort.metrics["account"]), "What was read, what was left out and why, and what is left"
)

# %% [markdown]
# ## What is measured
#
# The 19 series of the study come first; those below are what the Challenge has beside them. It has
# neither ionised calcium nor oxygen saturation by pulse oximetry. Arterial saturation is shown as a
# series of its own: it is not the same measurement, and is never used in place of the other.

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
# The study draws straight lines between measurements of the whole admission, in both directions,
# and cuts the window out afterwards. So the last hours of the window lean towards values that were
# measured after the prediction, and hours before the first measurement get a value that nobody had.
# The corrected way carries the last value forward and tells the model what was measured and how
# long ago. On the Challenge's data, which end after 48 hours, the lines cannot reach beyond the
# prediction; on MIMIC-III and in the simulation they do.

# %% tags=["hide-input"]
figures.show(
    results.filling(),
    "One simulated stay that ended in death. Dashed: the reported filling follows values that are "
    "measured after the "
    "prediction. Solid: the corrected one knows only what has been measured.",
)

# %% [markdown]
# ## Two protocols
#
# Nine things of the reported protocol bear on its scores; each is an option here, and [the next
# page](18-mortality-model) adds them one by one. Stays are parted by patient: 64 % to learn from,
# 16 % to choose by, 20 % to score on. What normalises the values is learnt from the first part
# alone, and the code stops where a patient stands in two parts or a statistic has seen a stay that
# it must not see.
