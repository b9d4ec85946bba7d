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
# # Results
#
# The table of the report, made again on counts. The same on [presence of codes](06-presence.ipynb),
# the data of the paper; [all generators](06-contest.ipynb) in one contest; [other
# data](06-other-data.ipynb); and [every score](06-all-scores.ipynb).

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from reproduction.synthesis import ablations, answer, contest, results, scores
from reproduction.tables import Table, Words, origin
from scoehr.files import check_seed

seed = check_seed(seed)
every = results.rows(dataset, source, profile, seed)
rows = ablations.pick(every, "models")
origin(dataset, profile, seed)

# %% tags=["hide-input"]
lines = [
    ablations.level_summary(ablations.level(every, "models")),
    answer.blindness(every),
    contest.best(rows),
    scores.divergences(rows, ""),
]
Words("\n".join(f"- {line}" for line in lines if line))

# %% tags=["hide-input"]
ablations.draw(every, "models")

# %% [markdown]
# (t1)=
# ## The main table
#
# A row a score: what the report gives, our runs, then what fresh real patients and shuffled columns
# score. The first four are computed *as reported*; the density ratio is the number of codes per
# synthetic patient over that of real ones. Below are scores that can tell patients from noise.
#
# Reported values come from MIMIC-III and a U-Net of full width. Ours has the report's batch,
# updates, schedule, sampler and steps, and a narrower U-Net; {ref}`steps` and {ref}`widths` show
# what these two change. DDM is inversely proportional to the number of patients scored: look at
# where a value lies between the reference points.

# %% tags=["hide-input"]
Table(
    ablations.main_table(rows, {"the report": ablations.of_report("reported")}),
    f"Counts. {scores.caption(rows)}",
)
