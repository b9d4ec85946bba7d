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
# # The score network
#
# Diffusion adds noise to patients step by step, and trains a network to undo it. The network learns
# the *score*: the direction in which a noisy patient becomes more likely {eq}`dsm`. This page shows
# how noise is added (the forward process), the losses, and two properties of the reported training
# that limit its outcome before the first epoch: the noise levels at which it trains, and how fast
# its learning rate falls.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
import torch

from reproduction import figures
from reproduction.synthesis import ablations, reported, results, scores
from reproduction.tables import Table, Words, origin
from scoehr.files import check_seed
from scoehr.models import unet_dim
from scoehr.sdes import VPSDE, stratified_times, uniform_times

seed = check_seed(seed)
rows = results.rows(dataset, source, profile, seed)
sizes = ablations.pick(rows, "networks")
origin(dataset, profile, seed)

# %% tags=["hide-input"]
Words(
    results.missing(
        rows, [*ablations.names("networks"), "official-epochs-50", "official-epochs-100"]
    )
)

# %% [markdown]
# ## The forward process
#
# At time $t$ a patient is $\alpha(t)$ times the data plus $\sigma(t)$ times standard normal noise
# {eq}`marginal`.

# %%
sde, t = VPSDE(), torch.linspace(0, 1, 200)
signal, noise = sde.alpha(t), sde.sigma(t)

# %% tags=["hide-input"]
crossing = t[(signal < noise).float().argmax()].item()
figures.show(
    figures.lines(
        {"signal scale α(t)": (t, signal), "noise scale σ(t)": (t, noise)},
        xlabel="diffusion time t (no unit)",
        ylabel="scale (no unit)",
    ),
    f"Noise exceeds the signal from t = {crossing:.2f} on; at t = 1 a share of "
    f"{signal[-1].item():.3f} of the signal is left. Whether a patient has a rare code is decided "
    "at small t.",
)

# %% [markdown]
# ## Times drawn in training
#
# For each patient of a batch training draws a time $t$. The paper's code draws them around an even
# grid, with a jitter of two grid cells, so that times near 0, where the presence of rare codes is
# decided, are drawn less often than under a uniform law; the more so, the smaller the batch. The
# alternative draws one time uniformly within each cell.

# %%
rng = torch.Generator().manual_seed(seed)
low = {}
for batch in (64, 256):
    for law, draw in {"paper": stratified_times, "uniform": uniform_times}.items():
        times = torch.cat([draw(batch, rng) for _ in range(400_000 // batch)])
        low[f"{law}, batches of {batch}"] = 100 * (times < 0.01).float().mean().item()

# %% tags=["hide-input"]
Table(
    pd.DataFrame({"times below 0.01 (%)": low}),
    "How often training sees patients almost without noise; 1 % under a uniform law",
)

# %% [markdown]
# ## The learning rate
#
# The report's schedule multiplies the learning rate by $0.5\, e^{-0.1 e}$ in epoch $e$, and calls
# 0.5 the initial rate. The sum of the multipliers over all epochs counts how many epochs at the
# full rate a training is worth. Under this schedule the sum hardly grows after 50 epochs
# {eq}`schedules`.

# %%
epochs = (12, 25, 30, 50, 75, 100)
budget = pd.DataFrame(
    {
        name: {number: reported.budget(name, number, number) for number in epochs}
        for name in ("reported", "official")
    }
).rename_axis("epochs")

# %% tags=["hide-input"]
Table(
    budget,
    "Epochs at full rate that a schedule is worth, by the number of epochs trained",
    digits=4,
)

# %% tags=["hide-input"]
spent = {
    name: [reported.budget(name, epoch, epochs[-1]) for epoch in range(1, epochs[-1] + 1)]
    for name in ("reported", "official")
}
figures.show(
    reported.budgets(spent, epochs),
    "Under the report's schedule 12 epochs do "
    f"{budget['reported'][12] / budget['reported'][100]:.0%} of the learning of 100, and 50 do "
    f"{budget['reported'][50] / budget['reported'][100]:.1%}. The report found that results "
    "converge around 50 epochs; under this schedule they must.",
)

# %% [markdown]
# (n1)=
# ## Losses
#
# A network whose output is always zero has a loss equal to the number of dimensions, so models of
# different sizes are compared by the loss per dimension. Dashed lines are the losses that the
# report gives for MIMIC-III, on other data and with a wider network.

# %% tags=["hide-input"]
fitted = {label: scores.curves(runs, "score") for label, runs in sizes.items()}
fitted = {label: histories for label, histories in fitted.items() if histories}
titles = {
    label: "no autoencoder" if label == "none" else f"{label} dimensions"
    for label in [row.label for row in ablations.rows_of("networks")]
}
quoted = pd.DataFrame(reported.QUOTES.values["score"]).set_index("latent")
ends = {
    titles[label]: scores.over_seeds(runs, "loss.score").value / quoted.loc[label, "test loss"]
    for label, runs in sizes.items()
}
figures.show(
    figures.curves(
        {titles[label]: histories for label, histories in fitted.items()},
        {titles[label]: curve for label, curve in ablations.reported_curves("score").items()},
        ylabel="loss per patient",
        log=True,
    ),
    "Validation loss ends at "
    + ", ".join(f"{ratio:.2f} ({label})" for label, ratio in ends.items())
    + " times the reported test loss, on other patients. Lines: mean over random seeds, with their "
    "range; dashed: from the report; both axes logarithmic.",
)

# %% tags=["hide-input"]
codes = len(next(iter(sizes.values()))[0].frequency)
table = {}
for label, runs in sizes.items():
    size, size_there = (
        int(label) if label != "none" else unet_dim(n)
        for n in (codes, reported.QUOTES.values["report_codes"])
    )
    last, said = scores.over_seeds(runs, "loss.score"), quoted.loc[label]
    table[titles[label]] = {
        "parameters": f"{runs[0].costs['parameters']:,}",
        "dimensions": size,
        "validation loss, here": str(last),
        "per dimension, here": last.value / size,
        "test loss, reported": said["test loss"],
        "per dimension, reported": said["test loss"] / size_there,
    }
Table(
    pd.DataFrame.from_dict(table, orient="index"),
    f"Loss of the score networks after the last epoch. {scores.caption(sizes)}",
)

# %% [markdown]
# The same network of 144 dimensions under both schedules. The paper's keeps the full rate for 20
# epochs, then lets it fall linearly.

# %% tags=["hide-input"]
titles = {
    "report's schedule, 50 epochs": "reported",
    "paper's schedule, 50 epochs": "official-epochs-50",
    "report's schedule, 100 epochs": "reported-epochs-100",
    "paper's schedule, 100 epochs": "official-epochs-100",
}
histories = {
    label: scores.curves(runs, "score") for label, runs in ablations.labelled(rows, titles).items()
}
final = {label: scores.over_seeds(rows[titles[label]], "loss.score") for label in histories}
figures.show(
    figures.curves(
        {label: found for label, found in histories.items() if found},
        ylabel="loss per patient",
        log=True,
    ),
    "Loss by epoch under both schedules. Validation loss at the end: "
    + ", ".join(f"{loss} ({label})" for label, loss in final.items())
    + ".",
)

# %% [markdown]
# ## Another way: thinning
#
# Counts that are mostly zero need no Gaussian noise. *Thinning diffusion* {eq}`thinning` removes
# recorded codes one by one until none is left, and its network learns how many of each code a
# thinned record lacks. There is no autoencoder that could lose codes, and no rounding. Its loss is
# a likelihood and cannot be compared with the losses above.

# %% tags=["hide-input"]
thinning = {
    name: runs for name, runs in results.main(rows).items() if name not in results.scored(rows)
}
histories = {name: scores.curves(runs, "rate") for name, runs in thinning.items()}
gain = {
    name: np.mean([history["validation_loss"].iloc[[0, -1]] for history in found], axis=0)
    for name, found in histories.items()
}
figures.show(
    figures.curves(histories, ylabel="loss per patient"),
    "Loss on validation patients in the first and the last epoch: "
    + ", ".join(
        " and ".join(f"{scores.made(loss, thinning[name]):.2f}" for loss in losses) + f" ({name})"
        for name, losses in gain.items()
    )
    + ". An untrained network already produces each code at its prevalence, independently of all "
    "others.",
)
