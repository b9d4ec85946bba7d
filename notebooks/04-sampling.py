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
# New patients start as noise and are carried back along the reversed process {eq}`reverse`,
# {eq}`flow`. The paper takes 1,000 steps; the cost of a synthetic patient is the number of times
# the network is evaluated for it. This page looks at some synthetic patients, at what they cost,
# and at how few evaluations will do.

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
# ## Who comes out
#
# Three synthetic patients of the last model in the table below, with few, more and many codes.
# Nobody of these ever lived.

# %% tags=["hide-input"]
name, run = list(runs.items())[-1]
sizes = np.asarray((run.synthetic.counts > 0).sum(axis=1)).ravel()
places = np.argsort(sizes, kind="stable")[[len(sizes) * share // 10 for share in (3, 6, 9)]]
patients = run.synthetic.take(places).to_long()
patients["title"] = patients["code"].map(
    dict(zip(run.synthetic.codes, run.synthetic.titles, strict=True))
)
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
# Seconds are those of the machine that made the run, on as many threads as its `environment.txt`
# says.

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
# 64, 144 and 256 dimensions, and 510 without an autoencoder. Its code kept all 1,001 states of
# every path and decoded each, to use the last; here only the last is kept.

# %% [markdown]
# (steps)=
# ## Whether the sampler decides the scores
#
# The same weights of the report's model, sampled by Euler-Maruyama in fewer steps than the reported
# 1,000, and by a method of higher order for the same equation {eq}`reverse`. Where the scores no
# longer move, the equation is solved, and what is left is the network's own error.

# %% tags=["hide-input"]
every = results.rows(dataset, source, profile, seed)
steps = ablations.pick(every, "steps")
Words(ablations.converged(steps, "1,000", "steps") or ablations.lacking(every, "steps"))

# %% tags=["hide-input"]
ablations.draw(every, "steps")

# %% tags=["hide-input"]
ablations.show_table(every, "steps")

# %% [markdown]
# (widths)=
# ## Whether the width decides the scores
#
# A profile may scale the width of the U-Net, and nothing else of what the report ran. How the
# scores change with it:

# %% tags=["hide-input"]
for name in ("reported", "paper"):
    found = ablations.widths(name, dataset, source, seed)
    if len(found) > 1:
        caption = f"{name} by the width of its U-Net (128 as reported), beside fresh real patients."
        display(
            Table(ablations.scale(found, list(found)[-1]), f"{caption} {scores.caption(found)}")
        )
        display(Words(ablations.converged(found, list(found)[-1], "wide")))
    else:
        display(Words(f"`{name}` has been run in the regime at one width at most on these data."))

# %% [markdown]
# ## How few steps will do
#
# The small networks under other samplers and fewer steps. The score is the mean absolute error of
# the codes' prevalence against the test patients; dotted is what fresh real patients score. Where a
# line is level, more steps buy nothing: what is left is the error of the network. Thinning
# diffusion draws jump by jump (`exact_jumps`), with as many evaluations as a record needs and no
# time error, or by `tau_leaping` in as many steps as asked for.

# %% tags=["hide-input"]
kept = results.weighted(runs)
small = {name: run for name, run in kept.items() if run.config["config"].get("network") != "unet"}
cohort = results.cohort(small, source)
size = min(1000, len(cohort.test), len(cohort.train))
present = results.shares(cohort.test)
rows = []
for name, run in small.items():
    for sampler in (
        ("ddim", "heun", "dpm_solver_pp_2m") if name in results.scored(runs) else ("tau_leaping",)
    ):
        for steps in (3, 5, 10, 20, 40):
            drawn = run.generator.sample(
                size, seed=seed, sampler=sampler, steps=steps, progress=False
            )
            error = np.abs(results.shares(drawn) - present).mean()
            calls = run.generator.evaluations
            rows.append(
                {
                    "sampler": f"{name}: {sampler.replace('_', ' ')}",
                    "evaluations": calls,
                    "score": error,
                }
            )
    if run.config["config"]["sampler"] == "exact_jumps":
        drawn = run.generator.sample(size, seed=seed, progress=False)
        error = np.abs(results.shares(drawn) - present).mean()
        rows.append(
            {
                "sampler": f"{name}: exact jumps",
                "evaluations": run.generator.evaluations,
                "score": error,
            }
        )
trials = pd.DataFrame(rows)
fresh = cohort.train.take(np.random.default_rng(seed).permutation(len(cohort.train))[:size])
floor = np.abs(results.shares(fresh) - present).mean()

# %% tags=["hide-input"]
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
# ## Patients on condition
#
# Thinning diffusion starts a record from the codes that it must have; the rest is to grow as in
# real patients who have them. For the most common codes: how many occurrences records have, and how
# the prevalence of all other codes correlates with that among the held-out patients with the code;
# that of all patients shows what ignoring the condition gives.

# %% tags=["hide-input"]
for name, run in small.items():
    if run.config["generator"] == "thinning":
        beside = results.conditioned(run.generator, cohort.test, seed=seed)
        caption = (
            f"{name}: patients on condition of a code beside held-out patients who have it. All "
            "held-out patients, the "
            f"code or not, have {cohort.test.counts.sum() / len(cohort.test):.1f} occurrences on "
            "average"
        )
        display(
            Table(beside, caption)
            if len(beside)
            else Words("No code has enough held-out patients.")
        )
