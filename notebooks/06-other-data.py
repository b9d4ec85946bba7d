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
# # On other data
#
# Do the results hold on other open data? The same generators and sweeps, wherever they were run at
# this profile and random seed.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from reproduction.synthesis import ablations, contest, results, scores
from reproduction.tables import Table, Words, origin
from scoehr.files import check_seed

seed = check_seed(seed)
abroad = results.elsewhere(dataset, profile, seed)
origin(dataset, profile, seed)

# %% tags=["hide-input"]
lines = [
    f"{name}, {results.KINDS[kind]}: {contest.best(group)}"
    for name, found in abroad.items()
    for kind, group in results.by_kind(results.rivals(found)).items()
    if contest.best(group)
]
Words("\n".join(f"- {line}" for line in lines) or "Nothing has been run on them yet.")

# %% [markdown]
# (elsewhere)=
# ## The contest there

# %% tags=["hide-input"]
for name, found in abroad.items():
    for kind, group in results.by_kind(results.rivals(found)).items():
        contest.show(group, f"{name}, {results.KINDS[kind]}")
    for targets in contest.reached(name, None, profile, seed):
        display(targets)

# %% [markdown]
# (abroad)=
# ## The report's table and sweeps there

# %% tags=["hide-input"]
for name, found in abroad.items():
    if rows := ablations.pick(found, "models"):
        table = ablations.main_table(rows, {"the report": ablations.of_report("reported")})
        display(Table(table, f"{name}, counts. {scores.caption(rows)}"))
    display(
        Table(ablations.overview(found), f"{name}: the sweeps, as in the table of the ablations")
    )
