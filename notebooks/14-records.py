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
# # Records
#
# The report has two workbooks beside its notebook: one prepares the data with PyHealth, the other
# is to load the synthetic patients into it. This page does both. It turns patients of hospital
# tables and of a finished run into *records* of visits, with the names of their codes, shows that
# matrix and records hold the same, and writes files that PyHealth reads.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import display

from reproduction.synthesis import reported, results
from reproduction.tables import Table, Words
from scoehr.data import datasets, interchange, patients
from scoehr.data.matrix import CodeMatrix
from scoehr.files import ROOT, check_seed

seed = check_seed(seed)
runs = results.runs(dataset, source, profile, seed)
results.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (w1)=
# ## From tables to visits
#
# A record is the list of a patient's admissions in time, each the list of the codes recorded then,
# one for each row of the diagnosis table.

# %%
real = patients.load(dataset, source).patients.to_records()
synthetic = runs["thinning"].synthetic.to_records()

# %% tags=["hide-input"]
facts = reported.QUOTES.values
said = {f"report, {row['where']}": row for row in facts["cohort"]}
here = {
    "real, here": interchange.statistics(real),
    "synthetic, here": interchange.statistics(synthetic),
}
rows = ["patients", "visits", "visits per patient", "codes per visit"]
Table(
    pd.DataFrame({**said, **here}, index=rows),
    "The cohort as the report gives it, and as it is here",
    digits=5,
)

# %% [markdown]
# The report gives two cohorts. That of its text is not MIMIC-III: the numbers are those of the
# public synthetic tables that come with PyHealth. That of its workbook agrees with its matrix, and
# the simulated cohort is calibrated to it.
#
# The models of this page learn a matrix, which has no admissions. So the visits of a synthetic
# patient are made up: the fewest in which no code occurs twice. The report puts all codes of a
# patient into one visit. A generator that learns admissions has [a page of its
# own](16-visits.ipynb).
#
# ## Records and matrix hold the same
#
# If the codes of all visits are counted, the result is the matrix that the rest of this book uses;
# and a matrix that is turned into records and back is unchanged. The report never compared the two,
# and its workbook stopped early:

# %% tags=["hide-input"]
Words(
    f"it wrote a matrix of {facts['workbook_patients']} rows, because its loop is left after the "
    "first few."
)

# %%
whole, made = datasets.load(dataset, source).matrix, runs["thinning"].synthetic
pairs = {"tables": (real, whole), "run": (synthetic, made)}
for records, matrix in pairs.values():
    for each in (records, matrix.to_records()):
        counted = CodeMatrix.from_records(each, codes=matrix.codes, kind=matrix.kind)
        assert counted.align(matrix.codes, matrix.titles).equals(matrix)

# %% tags=["hide-input"]
Words(
    "Equal in every cell: "
    + "; ".join(
        f"{name}: {m.shape[0]:,} patients × {m.shape[1]:,} codes, {m.counts.sum():,} recorded"
        for name, (_, m) in pairs.items()
    )
    + "."
)

# %% [markdown]
# (w2)=
# ## With the names of the codes
#
# The report could not name the codes of its synthetic patients, since it had discarded the list of
# codes. Here the list is part of the file. One record of several visits, synthetic, and real where
# the data are open:

# %% tags=["hide-input"]
names = dict(zip(matrix.codes, matrix.titles, strict=True))
for kind, records in {"real": real, "synthetic": synthetic}.items():
    if kind == "synthetic" or not datasets.DATASETS[dataset].credentialed:
        record = max(records, key=lambda record: min(len(record["visits"]), 2))
        lines = [
            (k, code, names[code]) for k, visit in enumerate(record["visits"], 1) for code in visit
        ]
        display(
            Table(pd.DataFrame(lines, columns=["visit", "code", "diagnosis"]), f"A {kind} patient")
        )

# %% [markdown]
# ## Into PyHealth
#
# PyHealth needs a newer Python than this project, so patients are passed in files of JSON lines: a
# record a line, with the fields of PyHealth's generation tasks, `patient_id` as text and `visits`
# as lists of codes. Visits without codes and patients without visits are left out, as those tasks
# do.

# %%
folder = ROOT / "runs" / "records"
for kind, records in {"real": real, "synthetic": synthetic}.items():
    file = folder / f"{dataset}-{profile}-{kind}.jsonl"
    written = interchange.write(records, file)
    print(f"runs/records/{file.name}: {written:,} patients")

# %% [markdown]
# In PyHealth 2, under its own Python, each line becomes a sample, and the nested sequence processor
# builds the vocabulary:
#
# ```python
# import json
# from pyhealth.datasets import create_sample_dataset
#
# samples = [json.loads(line) for line in open("simulated-quick-synthetic.jsonl")]
# schema = {"visits": "nested_sequence"}
# dataset = create_sample_dataset(samples, input_schema=schema, output_schema={})
# ```
#
# Its generators return records of the same form. `scoehr.data.interchange.read` reads them here,
# and `CodeMatrix.from_records` counts them, so that they are scored like any run.
