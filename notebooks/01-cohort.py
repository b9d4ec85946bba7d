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
# # The cohort
#
# Before anything is learnt from patients it should be plain who they are: how many, how many codes
# they have, and how the codes are spread. Three facts of this page matter to everything that
# follows. The matrix is almost empty; a handful of codes are common and most are rare; and what a
# patient has does not come code by code, but in groups.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from reproduction import figures
from reproduction.synthesis import experiments, reported
from reproduction.tables import Table, account, origin, patients
from scoehr.data import interchange
from scoehr.data.patients import load as load_patients
from scoehr.files import check_seed

seed = check_seed(seed)
cohort = experiments.cohort(dataset, source)
train, test = cohort.train, cohort.test
split = (train, cohort.validation, test)
origin(dataset, profile, seed)

# %% [markdown]
# (d2)=
# ## From tables to a matrix
#
# The loader reads the admissions and their diagnoses, cuts the codes to three digits (E codes to
# four characters), and counts how often each patient has each. Rows that it drops are counted by
# reason. The report counts a missing code as a code of its own; here it is dropped.

# %% tags=["hide-input"]
Table(account(cohort.account), "What was read, what was dropped and why, and what is left")

# %% [markdown]
# The patients are then split three ways, with no patient in two parts: the models learn from the
# first, losses are watched on the second, and everything in this book is scored on the third.

# %% tags=["hide-input"]
parts = pd.DataFrame(
    {
        "patients": [patients(len(part)) for part in split],
        "codes that occur": [int((part.counts.sum(axis=0) > 0).sum()) for part in split],
        "codes per patient": [part.counts.sum() / len(part) for part in split],
        "empty patients": [int((part.counts.sum(axis=1) == 0).sum()) for part in split],
    },
    index=["training", "validation", "test"],
)
Table(
    parts,
    "The three parts; a profile may train on fewer patients, which the pages of the runs say",
    {"codes per patient": "{:.2f}"},
)

# %% [markdown]
# (d1)=
# ## Beside the report
#
# The report describes two cohorts without noticing. The figures of its text are those of the public
# synthetic tables that come with PyHealth; its matrix and its workbook are MIMIC-III. With
# MIMIC-III as the source, the last column must agree with those two.

# %% tags=["hide-input"]
sizes = interchange.statistics(load_patients(dataset, source).patients.to_records())
here = {
    **sizes,
    "train": len(cohort.train) + len(cohort.validation),
    "test": len(test),
    "codes": len(test.codes),
    "codes per patient": sum(part.counts.sum() for part in split) / sum(map(len, split)),
}
printed = {f"report, {row['where']}": dict(row) for row in reported.QUOTES.values["cohort"]}
for row in printed.values():
    mean_cell = row.get("density")
    per_visit = row.get("visits per patient", np.nan) * row.get("codes per visit", np.nan)
    row["codes per patient"] = mean_cell * row["codes"] if mean_cell else per_visit
rows = [
    "patients",
    "visits",
    "visits per patient",
    "codes per visit",
    "train",
    "test",
    "codes",
    "codes per patient",
]
Table(
    pd.DataFrame({**printed, "here": here}, index=rows).rename(
        index={"train": "training patients", "test": "test patients"}
    ),
    "The cohort as the report gives it in three places, and as it is here; the report has no "
    "validation patients",
    digits=5,
)

# %% [markdown]
# ## How much a patient has
#
# The number of codes a patient collects over all admissions is far from a bell curve, and a
# generator has to get its shape right, not just its mean.

# %% tags=["hide-input"]
recorded = np.asarray(test.counts.sum(axis=1)).ravel()
distinct = np.asarray((test.counts > 0).sum(axis=1)).ravel()
figure = figures.distribution(
    {"codes recorded": recorded, "different codes": distinct}, xlabel="codes per patient"
)
figures.show(
    figure,
    f"Half of the test patients have at most {np.median(distinct):.0f} different codes, one in "
    "twenty has "
    f"{np.quantile(distinct, 0.95):.0f} or more. Counts run ahead of presence because codes come "
    "back at later "
    "admissions.",
)

# %% [markdown]
# ## How common a code is
#
# The vocabulary has a long tail. A code seen in a hundredth of a percent of patients is hardly ever
# in a training batch, yet such codes are most of the vocabulary, and they are the first that a
# model forgets.

# %% tags=["hide-input"]
shares = {"training": train, "test": test}
prevalence = {
    name: np.asarray((part.counts > 0).mean(axis=0)).ravel() for name, part in shares.items()
}
ranked = {
    name: (np.arange(1, len(found) + 1), 100 * np.sort(found)[::-1])
    for name, found in prevalence.items()
}
rare = (prevalence["training"] < 0.001).mean()
figures.show(
    figures.lines(ranked, xlabel="rank of the code", ylabel="patients with the code (%)", log="xy"),
    f"{100 * rare:.0f} % of the {train.shape[1]:,} codes are each seen in fewer than one training "
    "patient in a "
    "thousand. The two lines part where chance takes over: there no generator can be held to the "
    "test patients.",
)

# %% tags=["hide-input"]
common = np.argsort(-prevalence["training"], kind="stable")[:12]
Table(
    pd.DataFrame(
        {
            "title": train.titles[common],
            "training (%)": 100 * prevalence["training"][common],
            "test (%)": 100 * prevalence["test"][common],
        },
        index=train.codes[common],
    ),
    "The twelve most common codes: share of patients who have them",
    {"training (%)": "{:.1f}", "test (%)": "{:.1f}"},
)

# %% [markdown]
# ## What comes together
#
# Illness comes in groups, and it is these that a generator is for: anybody can draw codes one by
# one at their right frequency. The same patients with every column shuffled on its own have the
# same frequencies and none of the groups; they are the reference point *independent columns* of the
# later pages.

# %% tags=["hide-input"]
top = np.argsort(-prevalence["training"], kind="stable")[:40]
seen = test.dense()[:, top] > 0
shuffled = np.random.default_rng(seed).permuted(seen, axis=0)
matrices = {
    "test patients": np.corrcoef(seen.T.astype(float)),
    "columns shuffled": np.corrcoef(shuffled.T.astype(float)),
}
pairs = np.triu_indices(len(top), 1)
strong = {name: int((np.abs(matrix[pairs]) > 0.1).sum()) for name, matrix in matrices.items()}
figures.show(
    figures.correlations(matrices, list(train.codes[top])),
    f"Of {len(pairs[0]):,} pairs among the {len(top)} most common codes, "
    f"{strong['test patients']:,} are correlated "
    f"by more than 0.1 in test patients and {strong['columns shuffled']:,} once columns are "
    "shuffled.",
)
