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
# Who are the patients that the models learn from: how many are there, how many codes do they have,
# and how are the codes distributed? A *code* is a diagnosis of ICD-9, here cut to three digits. The
# *matrix* has a row for each patient and a column for each code; its cells count how often the code
# was recorded for the patient. Three facts matter for all pages that follow: the matrix is almost
# empty; a few codes are common and most are rare; and codes come in groups, not one by one.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from reproduction import figures
from reproduction.synthesis import reported
from reproduction.tables import Table, account, origin, patients
from scoehr.data import datasets, interchange
from scoehr.data.patients import load as load_patients
from scoehr.files import check_seed

seed = check_seed(seed)
origin(dataset, profile, seed)

# %% [markdown]
# (d2)=
# ## From tables to a matrix
#
# The loader reads admissions and their diagnoses, cuts the codes to three digits (E codes to four
# characters), and counts how often each patient has each code. It keeps an account of the rows that
# it drops and why. The report counts a missing code as a code of its own; here it is dropped.

# %%
whole, read = datasets.load(dataset, source)

# %% tags=["hide-input"]
Table(account(read), "What was read, what was dropped and why, and what is left")

# %% [markdown]
# The patients are split three ways. Models are trained on the first part, the loss is monitored on
# the second, the *validation* patients, and all scores of this book are computed on the third, the
# *test* patients, whom no model has seen.

# %%
train, validation, test = split = whole.split()

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
# The report describes two different cohorts. The numbers in its text are those of the public
# synthetic tables that come with PyHealth; its matrix and its workbook are MIMIC-III. If this book
# is run on MIMIC-III, the last column must agree with those two.

# %% tags=["hide-input"]
sizes = interchange.statistics(load_patients(dataset, source).patients.to_records())
here = {
    **sizes,
    "train": len(train) + len(validation),
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
# The number of codes of a patient, over all admissions, is far from normally distributed. A
# generator has to get the shape of this distribution right, not just its mean.

# %% tags=["hide-input"]
recorded = np.asarray(test.counts.sum(axis=1)).ravel()
distinct = np.asarray((test.counts > 0).sum(axis=1)).ravel()
figure = figures.distribution(
    {"codes recorded": recorded, "different codes": distinct}, xlabel="codes per patient"
)
figures.show(
    figure,
    f"Half of the test patients have at most {np.median(distinct):.0f} different codes; one in "
    f"twenty has {np.quantile(distinct, 0.95):.0f} or more. More codes are recorded than are "
    "different, since codes recur at later admissions.",
)

# %% [markdown]
# ## How common a code is
#
# The *prevalence* of a code is the share of patients who have it. The vocabulary has a long tail of
# rare codes: each is hardly ever in a training batch, yet together they are most of the vocabulary,
# and they are the first that a model loses.

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
    "patient in a thousand. Where the two lines part, the prevalence of a single code is chance, "
    "and no generator can be expected to match the test patients.",
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
# ## Which codes occur together
#
# Diagnoses are correlated, and a generator is needed to reproduce just that: independent codes at
# the right prevalence can be drawn without one. If each column of the matrix is shuffled on its
# own, prevalences stay and all correlations are gone. These shuffled patients are the reference
# point *independent columns* on later pages.

# %%
top = np.argsort(-prevalence["training"], kind="stable")[:40]
seen = test.dense()[:, top] > 0
shuffled = np.random.default_rng(seed).permuted(seen, axis=0)

# %% tags=["hide-input"]
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
