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
# # All other reported values
#
# Appendix: the reported values that other pages show beside their runs, in one place.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import display

from reproduction.synthesis import reported
from reproduction.tables import Table, Words, folded, origin
from scoehr.files import check_seed

seed = check_seed(seed)
facts = reported.QUOTES.values
codes = facts["report_codes"]
origin(dataset, profile, seed)

# %% tags=["hide-input"]
captions = {
    "cohort": "Three counts of one data set: in the text, in the reported shape of the matrix, in "
    "a workbook. Those of the text belong to another, a synthetic one that PyHealth offers",
    "autoencoder": "Mean count of a cell before and after the autoencoder, and losses after 200 "
    "epochs",
    "score": "Losses of the score networks after 50 epochs",
    "cost": "Minutes on a T4 GPU",
    "memory": "Memory on that GPU",
    "weights": f"Read from the published autoencoders: of {codes:,} codes those that no latent "
    "vector makes, those that are always 0, and those that are restored for a patient who has no "
    "other",
}
for name, caption in captions.items():
    values = pd.DataFrame(facts[name]).set_index(next(iter(facts[name][0]))).rename_axis(None)
    display(folded(caption, Table(values, caption, digits=6)))

# %% tags=["hide-input"]
curves = pd.DataFrame(facts["curves"])
Table(
    pd.DataFrame(
        {
            f"{curve.stage} {curve.latent}, {curve.set}": {
                "first": curve.loss[0], "last": curve.loss[-1], "lowest": min(curve.loss),
                "in epoch": curve.epochs[int(np.argmin(curve.loss))],
            }
            for curve in curves.itertuples()
        }
    ).T,
    "Published training curves: loss per patient",
    {"in epoch": "{:.0f}"},
    digits=6,
)  # fmt: skip

# %% tags=["hide-input"]
Words(
    f"An autoencoder took {facts['autoencoder_minutes']} minutes to train, at any size; sampling "
    "at 144 dimensions "
    f"took {facts['a100_sampling_minutes']} minutes on an A100. The workbook on preprocessing left "
    "a matrix of "
    f"{facts['workbook_patients']} rows. {facts['weights_codes_never_seen']} codes were never seen "
    "in training: all "
    "three published encoders have forgotten them."
)
