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
# # Sampling
#
# A synthetic patient starts as pure noise, from which the network removes noise step by step along
# the reversed process {eq}`reverse`, {eq}`flow`. The paper takes 1,000 steps. The cost of a patient
# is the number of times that the network is evaluated for it. This page shows some synthetic
# patients, what they cost, and how few evaluations are enough.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import display

from reproduction import figures
from reproduction.synthesis import ablations, results, scores
from reproduction.tables import Table, Words, origin
from scoehr.files import check_seed

seed = check_seed(seed)
runs = results.runs(dataset, source, profile, seed)
origin(dataset, profile, seed)

# %% [markdown]
# ## Three synthetic patients
#
# Of the last model in the table below, with few, more and many codes. None of them is a real
# person.

# %%
name, run = list(runs.items())[-1]
sizes = (run.synthetic.counts > 0).sum(axis=1)
third, sixth, ninth = (len(sizes) * tenths // 10 for tenths in (3, 6, 9))
three = run.synthetic.take(np.argsort(sizes, kind="stable")[[third, sixth, ninth]])

# %% tags=["hide-input"]
patients = three.to_long()
patients["title"] = patients["code"].map(dict(zip(three.codes, three.titles, strict=True)))
patients["patient"] = patients.pop("patient_id").factorize()[0] + 1
Table(
    patients.groupby("patient")
    .head(8)[["patient", "code", "count", "title"]]
    .reset_index(drop=True),
    f"Three synthetic patients from the run {name}, at most eight codes of each",
)

# %% [markdown]
# ## What a patient costs
#
# Seconds depend on the machine that made the run and on its number of threads, which stand in the
# `environment.txt` of the run; evaluations of the network do not.

# %% tags=["hide-input"]
rows = results.main(results.rows(dataset, source, profile, seed))
samplers = results.settings(rows).loc[["sampler", "steps"]].T
spent = results.costs(rows).drop(columns=["parameters", "autoencoder (s)", "peak memory (MiB)"])
Table(samplers.join(spent), f"Samplers and costs of each model. {scores.caption(rows)}")

# %% tags=["hide-input"]
per = pd.Series(
    {name: scores.estimate(found, results.thousand).value for name, found in rows.items()}
)
calls = {name: run.costs["evaluations_per_patient"] for name, run in runs.items()}
figures.show(
    figures.bars(per.to_dict(), xlabel="seconds per 1,000 patients"),
    f"{per.idxmin()} is {per.max() / per.min():,.0f} times as fast as {per.idxmax()} on the same "
    "machine, at "
    f"{calls[per.idxmin()]:,} and {calls[per.idxmax()]:,} evaluations of different networks a "
    "patient.",
)

# %% [markdown]
# The report gives 37, 68 and 120 minutes on a T4 GPU for as many patients as it trained on, at
# 64, 144 and 256 dimensions, and 510 without an autoencoder. Its code kept and decoded all 1,001
# states of each path, though only the last is a patient; here only the last is kept.

# %% [markdown]
# (steps)=
# ## Does the sampler decide the scores?
#
# The report's model, with the same weights, is sampled by Euler-Maruyama in fewer steps than the
# reported 1,000, and by a method of higher order for the same equation {eq}`reverse`. Where more
# steps no longer change the scores, the equation is solved, and the remaining error is that of the
# network.

# %% tags=["hide-input"]
every = results.rows(dataset, source, profile, seed)
steps = ablations.pick(every, "steps")
Words(ablations.outside(steps, "1,000", "steps") or ablations.lacking(every, "steps"))

# %% tags=["hide-input"]
ablations.draw(every, "steps")

# %% tags=["hide-input"]
ablations.show_table(every, "steps")

# %% [markdown]
# (widths)=
# ## Does the width decide the scores?
#
# A profile may scale the width of the U-Net, but nothing else of the report's model. Each width is
# compared with the narrowest, whose random seeds say how far two runs of one width lie apart; of
# twenty scores one lies farther away by chance.

# %% tags=["hide-input"]
for name in ("reported", "paper"):
    found = ablations.widths(name, dataset, source, seed)
    narrowest = next(iter(found), None)
    if len(found) > 1:
        caption = f"{name} by the width of its U-Net (128 as reported), beside fresh real patients."
        display(Table(ablations.scale(found), f"{caption} {scores.caption(found)}"))
        display(Words(ablations.outside(found, narrowest, "width", another=True)))
    else:
        display(Words(f"`{name}` has been run in the regime at one width at most on these data."))

# %% [markdown]
# ## How few steps are enough?
#
# The small networks are sampled by other samplers and in fewer steps. The score is the mean
# absolute error of the prevalences of the codes against the test patients; the dotted line is the
# score of fresh real patients. Where a curve is flat, more steps gain nothing. The sampler
# `exact_jumps` of thinning diffusion draws code by code, with as many evaluations as a record needs
# and no discretisation error; `tau_leaping` takes a given number of steps.

# %% tags=["hide-input"]
kept = results.weighted(runs)
small = {name: run for name, run in kept.items() if run.config["config"].get("network") != "unet"}
cohort = results.cohort(small, source)
size = min(1000, len(cohort.test), len(cohort.train))
present = results.shares(cohort.test)
flows = [(one, n) for one in ("ddim", "heun", "dpm_solver_pp_2m") for n in (3, 5, 10, 20, 40)]
jumps = [("exact_jumps", None), *(("tau_leaping", steps) for steps in (3, 5, 10, 20, 40))]

# %%
rows, how = [], {"seed": seed, "progress": False}
for name, run in small.items():
    model = run.generator
    for sampler, steps in flows if name in results.scored(runs) else jumps:
        drawn = model.sample(size, sampler=sampler, steps=steps, **how)
        error = np.abs(results.shares(drawn) - present).mean()
        rows.append((f"{name}: {sampler}", model.evaluations, error))

# %% tags=["hide-input"]
trials = pd.DataFrame(rows, columns=["sampler", "evaluations", "score"])
trials["sampler"] = trials["sampler"].str.replace("_", " ")
fresh = cohort.train.take(np.random.default_rng(seed).permutation(len(cohort.train))[:size])
floor = np.abs(results.shares(fresh) - present).mean()
best = trials.loc[trials["score"].idxmin()]
enough = trials[trials["score"] < 1.1 * best["score"]].sort_values("evaluations").iloc[0]
figures.show(
    figures.lines(
        {
            name: (line["evaluations"], line["score"])
            for name, line in trials.groupby("sampler", sort=False)
        },
        xlabel="network evaluations per sample",
        ylabel="prevalence error (mean absolute)",
        log="x",
        mark="o-",
        floor=floor,
    ),
    f"{size:,} patients each. The least error is {best['score']:.2g}; {enough['sampler']} comes "
    "within a tenth of it "
    f"at {enough['evaluations']} evaluations a patient. {size:,} fresh real patients score "
    f"{floor:.2g}.",
)

# %% [markdown]
# (on-condition)=
# ## Patients with a given code
#
# Thinning diffusion can start a record with codes that it must have; the other codes should then be
# those of real patients who have them: `model.sample(1000, condition=["428"])`. For each of the
# most common codes the table gives the number of recorded codes, and the correlation of the
# prevalences of all other codes with those among test patients who have the code; beside it the
# correlation that all test patients reach, which is what ignoring the condition would give.

# %% tags=["hide-input"]
for name, run in small.items():
    if run.config["generator"] == "thinning":
        beside = results.conditioned(run.generator, cohort.train, cohort.test, seed=seed)
        caption = (
            f"{name}: synthetic patients with a given code beside test patients who have it. All "
            f"test patients have {cohort.test.counts.sum() / len(cohort.test):.1f} recorded codes "
            "on average"
        )
        display(
            Table(beside, caption) if len(beside) else Words("No code has enough test patients.")
        )
