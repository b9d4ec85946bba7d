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
# How good are the report's models? This page repeats the report's table of results, on counts of
# codes. Related pages: [presence of codes](06-presence.ipynb), the paper's data; [the
# contest](06-contest.ipynb) of all generators; [other data](06-other-data.ipynb); [every
# score](06-all-scores.ipynb).

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
# Each row is a score. Its columns are the report's value, our runs, fresh real patients and
# independent columns. The first four scores are computed *as reported*; those below can tell
# patients from noise. The density ratio is the number of codes per synthetic patient over that of
# real ones.
#
# The reported values come from MIMIC-III and a U-Net of full width. Our runs have the report's
# batch, updates, schedule, sampler and steps, but a narrower U-Net; {ref}`steps` and {ref}`widths`
# show how much that matters. DDM falls as more patients are scored, so compare where a value lies
# between the reference points.

# %% tags=["hide-input"]
Table(
    ablations.main_table(rows, {"the report": ablations.of_report("reported")}),
    f"The report's table on counts. {scores.caption(rows)}",
)
