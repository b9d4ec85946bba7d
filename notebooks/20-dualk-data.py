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
# # DuaLK: from tables to a disease graph
#
# DuaLK predicts the diagnoses of a patient's next visit. It uses two kinds of knowledge: a graph of
# diseases, and what laboratory results say of diagnoses. This page makes its data from the raw
# tables and counts what each phase keeps. The next two build and train [the model](21-dualk-model),
# and judge [what it is worth](22-dualk-results).
#
# The study used MIMIC-IV, which needs credentials, and a knowledge graph that may not be passed on.
# Here the same code runs on MIMIC-III and MIMIC-IV tables, on Diabetes 130-US, and on simulated
# patients with many admissions; the knowledge graph is made of openly licensed parts.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd

from companions.dualk import results
from reproduction import figures
from reproduction.tables import Table
from scoehr.files import check_seed

seed = check_seed(seed)
runs = results.runs(dataset, source, profile, seed)
results.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (dualk-counts)=
# ## Nine phases, counted
#
# An admission counts if its year, shifted back, is late enough for the study. ICD-10 codes become
# ICD-9 codes by the rule of all data sets ([data](../data.md)); a code without a counterpart is
# dropped. A patient with an admission without codes is left out. Of the laboratory results only the
# set of abnormal items of an admission is kept: no value, no time, no direction. `python -m
# companions.dualk prepare` writes these counts for any of the data sets, so that a holder of
# MIMIC-IV can compare them with the reported ones.

# %% tags=["hide-input"]
Table(
    results.counts(runs["knowledge-forced"].metrics["account"]),
    "Counts of every phase, with the study's split: on the data at hand, and as the study gives "
    "them for MIMIC-IV",
)

# %% [markdown]
# Two choices decide what the results mean. First, the split: for every code the study puts the
# first patient who has it into training, so that no test patient ever has a code that training
# lacks. The corrected split is random. Second, the laboratory results: the study's model reads
# those of the very visit whose diagnoses it predicts.

# %% tags=["hide-input"]
Table(results.protocols(), "The protocols, field by field")

# %% [markdown]
# (dualk-graph)=
# ## The disease graph
#
# An edge joins two codes that occur at one visit of a pre-training patient. Its weight is the share
# that one code has of the other's co-occurrences; order and time of visits do not count. Most pairs
# of frequent codes co-occur sooner or later, so the edges alone say little. The corrected graph
# keeps the neighbours that co-occur more often than by chance, the strongest by pointwise mutual
# information.

# %% tags=["hide-input"]
account = {
    name: runs[f"knowledge-{name}"].metrics["account"]["6 graph"] for name in ("forced", "random")
}
Table(
    pd.DataFrame(account).rename(index=lambda name: name.replace("_", " ")).rename_axis(None),
    "The graph of all pairs, from the pre-training patients of the study's split and of a random "
    "one",
)

# %% [markdown]
# (dualk-embeddings)=
# ## A knowledge graph, and its embedding
#
# Parts of the study's knowledge graph need a licence. Ours joins the ICD-9-CM hierarchy, CCS
# groups, ICD-10 counterparts, and the strongest neighbours among training patients; users can add
# triples. HAKE gives every entity a modulus, which separates the levels of a hierarchy, and a
# phase, which separates the entities of one level {cite:p}`zhang2020hake`: it is polar, not
# hyperbolic as the study has it. RotatE has phases alone {cite:p}`sun2019rotate`.

# %% tags=["hide-input"]
Table(results.knowledge(runs["knowledge-random"]), "Triples of the knowledge graph, by relation")

# %% tags=["hide-input"]
Table(
    results.ranking(runs["knowledge-random"]),
    "Held-out triples: how high the right tail is ranked among all entities, known ones left out",
)

# %% tags=["hide-input"]
figures.show(
    results.scatter(results.maps(runs["corrected"])),
    "Codes of some diseases in two dimensions (t-SNE): as the knowledge graph has them, and as the "
    "trained encoder "
    "sends them on.",
)
