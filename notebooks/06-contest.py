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
# Which generator should one use? The paper compared its model with three generative adversarial
# networks. Here they compete again, together with diffusion on the records themselves, a Gaussian
# copula and thinning diffusion. The order is by the median of the floor-normalised gaps {eq}`gap`
# over all scores that have one: 0 is as good as fresh real patients, 1 as bad as independent
# columns.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from reproduction.synthesis import contest, experiments, results, scale
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
narrowed = {kind: scale.narrowed(group) for kind, group in contests.items()}
lines = [
    contest.choice([*contests.values(), *(group for found in others for group in found)]),
    *(f"On {results.KINDS[kind]}: {contest.best(group)}" for kind, group in contests.items()),
    *(f"On {results.KINDS[kind]} {said}." for kind, said in narrowed.items() if said),
    results.missing(every, [name for name, row in planned.items() if row.group in groups]),
]
Words("\n".join(f"- {line}" for line in lines if line))

# %% [markdown]
# Each model is trained for as many epochs as its authors published. *Membership AUC* is that of an
# attack that takes a patient for a training patient if the nearest synthetic patient is near; its
# floor is the same attack on fresh real patients, which no model has seen. Seconds were measured
# while other runs shared the machine. `fast` is latent diffusion with a Poisson decoder that draws
# its counts.
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
# These limits were set before thinning diffusion was built. They are compared with its runs at the
# largest profile. With few patients on each side, the scores of real patients scatter by more than
# the limits allow.

# %% tags=["hide-input"]
for targets in contest.reached(dataset, source, profile, seed):
    display(targets)
