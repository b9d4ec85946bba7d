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
# means to load the synthetic patients into it. Here both are done: patients as records of visits,
# from hospital tables and from a finished run, with the names of their codes, equal to the matrix
# both ways, and as files that PyHealth reads.

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
# A record holds a patient's admissions in their order, and in each the codes that the diagnosis
# table has there. A row of that table is an event.

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
# The report gives two cohorts. The one of its text is no MIMIC-III: these are the figures of the
# public synthetic tables that come with PyHealth. The one of its workbook agrees with its matrix,
# and the simulated cohort is calibrated to it.
#
# Synthetic patients have counts but no admissions, for the matrix that the models learn has none.
# Their visits here are the fewest in which no code repeats; the report puts all counts of a patient
# into one.
#
# ## Equal both ways
#
# Counted up, the visits give the matrix that everything else in this book uses; and a matrix taken
# apart into records comes back whole. The report never compared the two, and its workbook stopped
# early:

# %% tags=["hide-input"]
Words(
    f"it wrote a matrix of {facts['workbook_patients']} rows, because its loop is left after the "
    "first few."
)

# %%
pairs = {
    "tables": (real, datasets.load(dataset, source).matrix),
    "run": (synthetic, runs["thinning"].synthetic),
}
for found, matrix in pairs.values():
    counted = CodeMatrix.from_records(found, codes=matrix.codes, kind=matrix.kind).align(
        matrix.codes, matrix.titles
    )
    again = CodeMatrix.from_records(matrix.to_records(), codes=matrix.codes, kind=matrix.kind)
    assert counted.equals(matrix) and again.align(matrix.codes, matrix.titles).equals(matrix)

# %% tags=["hide-input"]
Words(
    "Equal in every cell: "
    + "; ".join(
        f"{name}: {m.shape[0]:,} × {m.shape[1]:,}, {m.counts.sum():,} events"
        for name, (_, m) in pairs.items()
    )
    + "."
)

# %% [markdown]
# (w2)=
# ## With the names of the codes
#
# The report could not name the codes of its synthetic patients, since it had thrown the vocabulary
# away. Here it travels with the file. One record of several visits, of each kind where the real
# ones are open data:

# %% tags=["hide-input"]
names = dict(zip(matrix.codes, matrix.titles, strict=True))
for kind, found in {"real": real, "synthetic": synthetic}.items():
    if kind == "synthetic" or not datasets.DATASETS[dataset].credentialed:
        record = max(found, key=lambda record: min(len(record["visits"]), 2))
        lines = [
            (k, code, names[code]) for k, visit in enumerate(record["visits"], 1) for code in visit
        ]
        display(
            Table(pd.DataFrame(lines, columns=["visit", "code", "diagnosis"]), f"A {kind} patient")
        )

# %% [markdown]
# ## Into PyHealth
#
# PyHealth wants a newer Python than this project runs on, so the two meet in files: JSON lines, one
# record a line, with the fields that its generation tasks give, `patient_id` as text and `visits`
# as lists of codes. Visits without codes, and patients without visits, are left out, as those tasks
# leave them out.

# %%
folder = ROOT / "runs" / "records"
files = {kind: folder / f"{dataset}-{profile}-{kind}.jsonl" for kind in ("real", "synthetic")}
written = {
    kind: interchange.write(found, files[kind])
    for kind, found in zip(files, (real, synthetic), strict=True)
}

# %% tags=["hide-input"]
Words(
    "Written: "
    + "; ".join(f"`runs/records/{files[kind].name}`, {n:,} patients" for kind, n in written.items())
    + "."
)

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
# What its generators give, records of the same form, is read here by `records.read` and scored like
# any run, once `CodeMatrix.from_records` has counted it.
