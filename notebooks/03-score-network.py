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
# The diffusion learns one thing: in which direction a noised patient should move to become more
# likely {eq}`dsm`. This page shows the forward process, the losses, and two properties of the
# reported training that decide its outcome before a single epoch is run: which noise levels it
# visits, and how soon its learning rate is used up.

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

# %% tags=["hide-input"]
sde, t = VPSDE(), torch.linspace(0, 1, 200)
crossing = t[(sde.alpha(t) < sde.sigma(t)).float().argmax()].item()
figures.show(
    figures.lines(
        {"signal scale α(t)": (t, sde.alpha(t)), "noise scale σ(t)": (t, sde.sigma(t))},
        xlabel="diffusion time t (no unit)",
        ylabel="scale (no unit)",
    ),
    f"Noise outweighs signal from t = {crossing:.2f} on; at t = 1 a share of "
    f"{sde.alpha(t)[-1].item():.3f} of the "
    "signal is left. Whether a rare code is there or not is settled at small t.",
)

# %% [markdown]
# ## Times visited in training
#
# The paper's code draws times around a grid, with a jitter as wide as two cells. The low end of the
# grid, where the presence of rare codes is decided, is visited less often than by uniform times,
# and the smaller the batch the less.

# %% tags=["hide-input"]
rng = torch.Generator().manual_seed(seed)
low = {
    f"{name}, batches of {batch}": np.mean(
        [(draw(batch, rng) < 0.01).float().mean() for _ in range(400_000 // batch)]
    )
    for name, draw in {
        "stratified (paper's code)": stratified_times,
        "one in each cell": uniform_times,
    }.items()
    for batch in (64, 256)
}
Table(
    pd.DataFrame({"share of times below 0.01 (%)": low}) * 100,
    "How often training sees almost clean patients",
)

# %% [markdown]
# ## The learning rate
#
# The report's schedule multiplies the rate by $0.5\, e^{-0.1 t}$ in epoch $t$, and calls 0.5 the
# initial rate. The sum of the multipliers, the *budget*, is what an epoch count buys; with this
# schedule it is nearly spent long before the end.

# %% tags=["hide-input"]
epochs = (12, 25, 30, 50, 75, 100)
budget = pd.DataFrame(
    {
        name: {number: reported.budget(name, number, number) for number in epochs}
        for name in ("reported", "official")
    }
).rename_axis("epochs")
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
    "Under the report's schedule 12 epochs are worth "
    f"{budget['reported'][12] / budget['reported'][100]:.0%} of 100, "
    f"and 50 are worth {budget['reported'][50] / budget['reported'][100]:.1%}. The report found "
    "that results converge "
    "around 50 epochs; with this schedule they could not do anything else.",
)

# %% [markdown]
# (n1)=
# ## Losses
#
# A network that puts out zeros has a loss equal to the number of dimensions, so the loss per
# dimension is what compares between models. Dashed are the losses that the report gives for
# MIMIC-III after its epochs; the scale differs, since the data, the width of the network and the
# share of patients in an epoch do.

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
# The same network of 144 dimensions under both schedules. The paper's holds the full rate for 20
# epochs and then falls in a straight line.

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
# Noise in whole numbers that are mostly zero need not be Gaussian. Thinning diffusion,
# {eq}`thinning`, takes recorded codes away one by one until none is left, and its network learns
# how many of each a thinned record lacks. There is no autoencoder to lose codes in, and no
# rounding. Its loss is a likelihood and not comparable with the losses above.

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
    + ", ".join(f"{first:.2f} and {last:.2f} ({name})" for name, (first, last) in gain.items())
    + ". An untrained network already grows the right number of each code, with no relation "
    "between them.",
)
