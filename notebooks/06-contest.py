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
# # The contest
#
# Which generator to recommend. The paper set its model beside three generative adversarial
# networks; here they are again, with diffusion on the records themselves, a Gaussian copula, and
# thinning diffusion. All are ordered by the median of their floor-normalised gaps {eq}`gap` over
# every score that has one: 0 as good as fresh real patients, 1 as bad as independent columns.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from reproduction.synthesis import contest, experiments, results
from reproduction.tables import Words, origin
from scoehr.files import check_seed

seed = check_seed(seed)
every = results.rows(dataset, source, profile, seed)
contests = results.by_kind(results.rivals(every))
abroad = results.elsewhere(dataset, profile, seed)
others = [results.by_kind(results.rivals(found)).values() for found in abroad.values()]
origin(dataset, profile, seed)

# %% tags=["hide-input"]
planned = experiments.plan(dataset, source, profile, seed)
groups = (experiments.MAIN, "baselines")
lines = [
    contest.choice([*contests.values(), *(group for found in others for group in found)]),
    *(f"On {results.KINDS[kind]}: {contest.best(group)}" for kind, group in contests.items()),
    results.missing(every, [name for name, row in planned.items() if row.group in groups]),
]
Words("\n".join(f"- {line}" for line in lines if line))

# %% [markdown]
# Each is trained for the number of epochs that its authors published. *Membership AUC* is that of
# an attack that asks whose nearest synthetic patient is near; its floor is that of fresh real
# patients, whom nobody was trained on. Seconds are those of the machine that ran them while other
# runs shared it. Latent diffusion with a Poisson head that decodes by a draw is `fast`.
#
# (gans)=
# ## On presence

# %% tags=["hide-input"]
if "binary" in contests:
    contest.show(contests["binary"], "Presence")

# %% [markdown]
# (contest)=
# ## On counts

# %% tags=["hide-input"]
if "count" in contests:
    contest.show(contests["count"], "Counts")

# %% [markdown]
# (targets)=
# ## Limits set before it was built
#
# Thinning diffusion against the limits that were set before it was built, at the largest profile it
# has been run at. With few patients a side the scores of real patients scatter by more than the
# limits.

# %% tags=["hide-input"]
for targets in contest.reached(dataset, source, profile, seed):
    display(targets)
