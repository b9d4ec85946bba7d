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
# # The autoencoder
#
# A patient is a row of about a thousand counts, nearly all zero. The *encoder* compresses it into a
# short *latent* vector, on which the diffusion works; the *decoder* turns a latent vector back into
# counts {eq}`autoencoder`. What is lost here no diffusion can restore: a code that the decoder
# cannot produce never occurs in a synthetic patient. So this page asks how well the autoencoder
# reconstructs patients, and which codes it can produce at all.

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

seed = check_seed(seed)
rows = results.rows(dataset, source, profile, seed)
sizes = ablations.pick(rows, "autoencoders")
heads = ablations.pick(rows, "heads")
origin(dataset, profile, seed)

# %% tags=["hide-input"]
Words(results.missing(rows, [*ablations.names("autoencoders"), *ablations.names("heads")]))

# %% [markdown]
# (a1)=
# ## Learning to reconstruct
#
# The loss is the squared error of one patient, summed over codes. Dashed lines are the losses that
# the report gives for MIMIC-III, where it trained for 200 epochs. The data differ, and the profile
# may train for fewer epochs, so compare the shapes: whether the curves level off, and whether the
# loss of validation patients departs from that of training patients.

# %% tags=["hide-input"]
fitted = {label: scores.curves(runs, "autoencoder") for label, runs in sizes.items()}
fitted = {label: histories for label, histories in fitted.items() if histories}
apart = {
    f"{label} dimensions": scores.made(
        np.mean(
            [epochs["validation_loss"].iloc[-1] / epochs["train_loss"].iloc[-1] for epochs in found]
        ),
        sizes[label],
    )
    for label, found in fitted.items()
}
figures.show(
    figures.curves(
        {f"{label} dimensions": histories for label, histories in fitted.items()},
        {
            f"{label} dimensions": curve
            for label, curve in ablations.reported_curves("autoencoder").items()
        },
        ylabel="loss per patient",
        log=True,
    ),
    "Validation loss ends at "
    + ", ".join(f"{ratio:.2f} ({label})" for label, ratio in apart.items())
    + " times the training loss. Lines: mean over random seeds, with their range; dashed: from the "
    "report; both axes logarithmic.",
)

# %% tags=["hide-input"]
printed = pd.DataFrame(reported.QUOTES.values["autoencoder"]).set_index("latent")
table = {}
for label, histories in fitted.items():
    last = pd.concat(
        [history[["train_loss", "validation_loss"]].tail(1) for history in histories]
    ).mean()
    quoted = printed.loc[int(label)]
    table[label] = {
        "training, here": last["train_loss"],
        "validation, here": last["validation_loss"],
        "ratio, here": last["validation_loss"] / last["train_loss"],
        "training, reported": quoted["train loss"],
        "test, reported": quoted["test loss"],
        "ratio, reported": quoted["test loss"] / quoted["train loss"],
    }
Table(
    pd.DataFrame.from_dict(table, orient="index"),
    "Loss per patient after the last epoch, mean over random seeds, by latent dimensions",
)

# %% [markdown]
# At 144 dimensions the reported loss on test patients is over three times that on training
# patients: the network was overfitted after 200 epochs.
#
# The *head* is the last step of the decoder: what its output means, and by which loss it is
# trained. The losses of different heads have different units, so compare shapes, not heights.

# %% tags=["hide-input"]
histories = {label: scores.curves(runs, "autoencoder") for label, runs in heads.items()}
figures.show(
    figures.curves(
        {label: found for label, found in histories.items() if found}, ylabel="loss per patient"
    ),
    "Loss of the autoencoders by head of the decoder. Squared error, cross-entropy and the Poisson "
    "likelihood have different units.",
)

# %% [markdown]
# (a2)=
# ## What comes back
#
# Test patients are encoded and decoded, without diffusion in between. The report compared the mean
# count before and after, and took their agreement as a sign of good reconstruction. But the mean
# can agree while rare codes are lost and common ones take their place. So two more numbers are
# given: codes *lost*, which test patients have before and none has after; and codes *out of reach*,
# which the decoder cannot produce from any latent vector.
#
# Latent vectors lie in $(-1, 1)^k$, so the largest output of the decoder for code $j$ is
# $b_j + \sum_i |W_{ji}|$. If even this does not reach the threshold, one half after a ReLU or a
# sigmoid, the code is out of reach before diffusion starts. A Poisson head draws its counts, so no
# code is out of reach. For a fitted model these are three calls:

# %%
found = results.coded(results.runs(dataset, source, profile, seed))
for name, run in results.weighted(found).items():
    model, people = run.generator, results.cohort({name: run}, source).validation
    latents = model.autoencoder.encode(torch.from_numpy(people.dense()))
    back = model.reconstruct(people)
    before, after = (each.counts.sum() / len(each) for each in (people, back))
    print(f"{name}: {latents.shape[1]} dimensions, codes per patient", end=" ")
    print(f"{before:.1f} before, {after:.1f} after,", end=" ")
    print(f"{len(model.unreachable())} out of reach")

# %% [markdown]
# The same for all autoencoders, from what each run recorded:

# %% tags=["hide-input"]
table = {}
others = {label: runs for label, runs in heads.items() if runs not in sizes.values()}
for label, runs in {**sizes, **others}.items():
    before, after = (
        scores.estimate(runs, lambda run, side=side: scores.codes_per_patient(run)[side])
        for side in ("real", "reconstructed")
    )
    table[label] = {
        "codes": len(runs[0].frequency),
        "codes per patient before": before.value,
        "after": str(after),
        "after / before (%)": 100 * after.value / before.value,
        "codes lost": str(scores.estimate(runs, scores.lost, limits=scores.COUNT)),
        "out of reach": str(scores.estimate(runs, scores.unreachable, limits=scores.COUNT)),
    }
Table(
    pd.DataFrame.from_dict(table, orient="index"),
    f"Test patients before and after the autoencoder. {scores.caption({**sizes, **heads})}",
    {"codes per patient before": "{:.2f}", "after / before (%)": "{:.1f}"},
)

# %% tags=["hide-input"]
weights = pd.DataFrame(reported.QUOTES.values["weights"]).set_index("latent")
weights.index = weights.index.astype(int)
codes = reported.QUOTES.values["report_codes"]
densities = pd.DataFrame(
    {
        "codes per patient before": codes * printed["density before"],
        "after": codes * printed["density after"],
        "after / before (%)": 100 * printed["density after"] / printed["density before"],
    }
)
Table(
    densities.join(weights["codes never produced"].rename("out of reach")),
    "From the report: codes per test patient before and after. Out of reach: computed from its "
    f"published weights, of {codes:,} codes",
    {"codes per patient before": "{:.2f}", "after": "{:.2f}", "after / before (%)": "{:.1f}"},
)

# %% [markdown]
# The report shows the same comparison as histograms that start at ten occurrences of a code. Here
# they start at one, with a bar on the left for the codes that never occur.

# %% tags=["hide-input"]
patients = next(iter(sizes.values()))[0].config["data"]["test"]
before = np.round(scores.occurrences(next(iter(sizes.values())), "real", patients))
after = {
    label: np.round(scores.occurrences(runs[:1], "reconstructed", patients))
    for label, runs in sizes.items()
}
gone = {label: int((counts == 0).sum()) for label, counts in after.items()}
figures.show(
    figures.frequency(
        before,
        {f"{label} dimensions": counts for label, counts in after.items()},
        labels=("before", "after"),
    ),
    f"How many codes occur how often in {patients:,} test patients, first random seed. "
    f"{(before < 10).mean():.0%} of the codes occur fewer than ten times before and are not in the "
    "report's histograms. Never after: "
    + ", ".join(f"{count:,} ({label} dimensions)" for label, count in gone.items())
    + f"; never before: {int((before == 0).sum()):,}.",
)

# %% [markdown]
# ## What the diffusion gets to see
#
# The forward process {eq}`forward` is designed for dimensions of about unit variance. Latents of
# the autoencoder, which end in a Tanh, vary less, so noise exceeds the signal earlier than its
# schedule intends. The `fast` model standardises its latents first.

# %% tags=["hide-input"]
spread = {}
for name, run in results.weighted(found).items():
    model, people = run.generator, results.cohort({name: run}, source).validation
    latents = model.autoencoder.encode(torch.from_numpy(people.dense())).detach()
    spread[name] = ((latents - model.shift) / model.scale).std(dim=0).numpy()
if spread:
    figures.show(
        figures.distribution(
            spread,
            xlabel="standard deviation of a latent dimension",
            ylabel="share of dimensions (%)",
            step=0.05,
        ),
        "The median dimension has standard deviation "
        + ", ".join(
            f"{scores.made(np.median(values), [found[name]]):.2f} ({name})"
            for name, values in spread.items()
        )
        + "; the process assumes 1. Main models, first random seed.",
    )
