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
# # Costs
#
# What does each model cost to train and to sample, beside the report's hours on a T4 GPU? Seconds
# were measured on the machine that made the runs, on as many threads as the page says, while other
# runs shared it. So ratios say more than seconds.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd

from reproduction import figures
from reproduction.synthesis import ablations, reported, results, scores
from reproduction.tables import Table, Words, benchmark, cell, folded, origin
from scoehr.files import check_seed

seed = check_seed(seed)
rows = results.rows(dataset, source, profile, seed)
sizes = ablations.pick(rows, "networks")
origin(dataset, profile, seed)

# %% tags=["hide-input"]
Words(results.missing(rows, ablations.names("networks")))

# %% [markdown]
# (speed)=
# ## Beside the reported code
#
# `make bench` does the same work twice on one machine, as the report's code does it and as this
# project does. A ratio above 1 says how many times faster ours is. The reported sampler's seconds
# follow from those of one evaluation. A step of the U-Net is nearly all convolution, by the same
# library on both sides.

# %% tags=["hide-input"]
bench = benchmark("speed")
Table(
    pd.DataFrame(
        {
            pair["unit"]: {
                "as reported (s)": cell(pair["reported"]),
                "here (s)": cell(pair["ours"]),
                "ratio": cell(pair["ratio"]),
            }
            for pair in bench["pairs"].values()
        }
    ).T,
    f"Seconds on {bench['machine']['threads']} threads of {bench['machine']['cores']} cores, load "
    f"{bench['machine']['load']:.1f}; the best of {bench['turns']} turns",
)

# %% tags=["hide-input"]
thinning, unet = bench["pairs"]["thinning"], bench["pairs"]["unet"]
Words(
    f"The recommended generator was to take at most {thinning['limit']:.0f} s for "
    f"{thinning['patients']:,} patients; it took {thinning['seconds']:.1f} s. The U-Net's step was "
    f"to reach a ratio of {unet['limit']}; it is {unet['ratio']:.2f}, and both networks agree to "
    f"{unet['relative_difference']:.0e} of the largest output."
)

# %% [markdown]
# How time and memory grow with the number of patients and of codes, each size in a process of its
# own. Sampling takes only two steps here, since the question is its memory: patients go to the file
# as they are made.

# %% tags=["hide-input"]
growth = {
    stage: {
        f"{int(size):,}": f"{cost['seconds']:.3g} s, {cost['peak_mb']:,.0f} MB"
        for size, cost in sizes.items()
    }
    for stage, sizes in bench["growth"].items()
}
columns = sorted(
    {size for sizes in growth.values() for size in sizes},
    key=lambda size: int(size.replace(",", "")),
)
Table(
    pd.DataFrame.from_dict(growth, orient="index", columns=columns).fillna("–"),
    "Seconds, and peak memory of the process",
)

# %% [markdown]
# (c1)=
# ## Beside the reported hours
#
# The report's minutes are for all of its patients, 1,000 steps and the full width; ours are at the
# scale of the profile.

# %% tags=["hide-input"]
said = reported.QUOTES.values
minutes, memory = (pd.DataFrame(said[name]).set_index("latent") for name in ("cost", "memory"))
quantities = {
    "training": (results.network_seconds, minutes["training (min)"] * 60),
    "1,000 patients": (results.thousand, minutes["sampling (min)"] * 60),
    "peak memory": (results.memory, memory["training (GB)"]),
}
rows_here = {row.label: sizes.get(row.label, []) for row in ablations.rows_of("networks")}
here = {
    f"{name}, over that at 144": {
        label: scores.relative(runs, sizes["144"], read) for label, runs in rows_here.items()
    }
    for name, (read, _) in quantities.items()
}
theirs = {
    f"{name}, over that at 144": (quoted / quoted["144"]).to_dict()
    for name, (_, quoted) in quantities.items()
}
dearest = list(sizes)[-1]
figures.show(
    figures.dots(here, reported=theirs),
    f"At {dearest}, of 144: "
    + "; ".join(
        f"{name} {scores.relative(sizes[dearest], sizes['144'], read)} times"
        for name, (read, _) in quantities.items()
    )
    + ". By latent dimensions; dots are runs here, diamonds the report on a T4 GPU.",
)

# %% tags=["hide-input"]
table = {
    label: {
        "training, reported (min)": minutes.loc[label, "training (min)"],
        "training, here (s)": str(
            scores.estimate(runs, results.network_seconds, limits=scores.COUNT)
        ),
        "sampling, reported (min)": minutes.loc[label, "sampling (min)"],
        "1,000 patients, here (s)": str(
            scores.estimate(runs, results.thousand, limits=scores.COUNT)
        ),
        "memory, reported (GB)": memory.loc[label, "training (GB)"],
        "memory, here (MiB)": str(scores.estimate(runs, results.memory, limits=scores.COUNT)),
    }
    for label, runs in sizes.items()
}
Table(
    pd.DataFrame.from_dict(table, orient="index"),
    "Time and memory by latent dimensions: the report on a T4 GPU, and here. "
    f"{scores.caption(sizes)}",
)

# %% tags=["hide-input"]
threads = sorted({run.costs["threads"] for runs in rows.values() for run in runs})
accelerators = sorted(
    {run.costs["accelerator"] or "none" for runs in rows.values() for run in runs}
)
Words(
    f"The report also gives {said['autoencoder_minutes']} minutes for an autoencoder and "
    f"{said['a100_sampling_minutes']} minutes for sampling from 144 dimensions on an A100 GPU. "
    "Here: accelerator "
    f"{', '.join(accelerators)}; threads a run {', '.join(map(str, threads))}. The report kept all "
    "states of every "
    "path and decoded each, to use the last; here only the last is kept."
)

# %% [markdown]
# ## Every row
#
# Runs whose training begins alike share that part; a row's seconds include all of it.

# %% tags=["hide-input"]
caption = f"{scores.caption(rows)} {scores.divergences(rows)}"
folded(f"Costs of all {len(rows)} rows of the plan", Table(results.costs(rows), caption))

# %% [markdown]
# (pareto)=
# ## What the cost buys
#
# Quality against seconds, of training and of sampling. No cheaper model is better than one on the
# line. How few steps each sampler needs: [sampling](04-sampling.ipynb).

# %% tags=["hide-input"]
key = "utility.discriminator_auc"
named = {name: name for name in [*results.main(rows), *results.grouped(rows, "baselines")]} | {
    f"reported, {row.label}": row.name for row in ablations.rows_of("networks")
}
named.pop("reported, 144")
for kind, group in results.by_kind(ablations.labelled(rows, named)).items():
    quality = {label: scores.over_seeds(runs, key) for label, runs in group.items()}
    for cost, what in (
        (results.training_seconds, "seconds of training"),
        (results.thousand, "seconds per 1,000 patients"),
    ):
        spent = {label: scores.estimate(runs, cost).value for label, runs in group.items()}
        points = {label: (spent[label], quality[label]) for label in group if spent[label] > 0}
        front = figures.pareto(
            {label: (price, value.value) for label, (price, value) in points.items()}
        )
        figures.show(
            figures.tradeoff(
                points,
                xlabel=what,
                ylabel="discriminator AUC (lower is better)",
                floor=scores.point(group, "real", key),
            ),
            f"Nothing cheaper is better than {', '.join(front)}: {what} against quality on "
            f"{results.KINDS[kind]}, mean of the runs and what they span.",
        )

# %% [markdown]
# (wide)=
# ## Generators for tables of a few columns
#
# CTGAN and TVAE {cite:p}`xu2019` give each column an output layer and a loss of its own. Their
# authors' package is not openly licensed, so neither is part of this project or of the contest.
# `python -m benchmarks.wide` timed a training step of each, with presence of the most common codes
# as columns.

# %% tags=["hide-input"]
wide = benchmark("wide")
asked = wide["full"]
columns = {
    name: {
        **{
            f"{int(width):,} codes": f"{cell(seconds)} s"
            for width, seconds in found["seconds_a_step"].items()
        },
        "growth": f"codes to the power {found['power']:.2f}",
        f"all {asked['codes']:,} codes": f"{found['hours_at_full_size']:.1f} hours",
    }
    for name, found in wide["generators"].items()
}
Table(
    pd.DataFrame(columns).T,
    f"Processor seconds of a step of {wide['batch']} patients ({wide['package']}, threads: "
    f"{wide['threads']}), and the "
    f"hours that {asked['epochs']} epochs of {asked['patients']:,} patients with "
    f"{asked['codes']:,} codes would take, "
    "if growth continues as over the last doubling",
)
