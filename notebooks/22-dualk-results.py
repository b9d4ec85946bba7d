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
# # DuaLK: what it is worth
#
# Is DuaLK better than repeating old diagnoses? This page compares two protocols: the study's, and a
# corrected one, in which the model sees nothing of the visit to predict, patients are split at
# random, and validation patients choose the epoch. Then every flaw is put back alone. The baseline
# is a predictor that has learnt nothing: it repeats the diagnoses of earlier visits.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from companions.dualk import results
from companions.dualk.claims import LEDGER
from reproduction import figures
from reproduction.claims import tally
from reproduction.estimates import at_every_seed
from reproduction.tables import Table, Words
from scoehr.files import check_seed

seed = check_seed(seed)
runs = results.runs(dataset, source, profile, seed)
results.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (dualk-verdict)=
# ## The verdict
#
# A network has learnt nothing from histories if it is no better than the most frequent codes, or
# learns as much from shuffled answers. No verdict rests on such a network.

# %% tags=["hide-input"]
several = results.several(dataset, source, profile, seed)
for name, found in several.items():
    display(Words(f"**{name}**, profile `{found['corrected'].experiment.profile}`"))
    display(results.verdict(found))

# %% tags=["hide-input"]
Table(
    results.across(several),
    "DuaLK against repeating earlier diagnoses, with 95 % intervals over test patients",
)

# %% [markdown]
# ## Scores under the corrected protocol
#
# Recall@20 is the share of a patient's codes among the twenty ranked first. New codes are those
# that the history lacks, recurring ones those that it has. The calibration error is the difference
# between predicted probabilities and what happens, as a share of all codes; 0 is best. In simulated
# data the truth is known, and with it the best that can be reached.

# %% tags=["hide-input"]
largest, made = list(several.items())[-1]
Table(
    results.main(made).drop(columns="nDCG@20"),
    f"{largest}: models and baselines on the test patients of the corrected protocol; 95 % "
    "intervals",
)

# %% [markdown]
# The network of the history starts from rates of recurrence, and learns from every visit and from
# hidden codes of single ones. It is averaged with RETAIN, which learns from every visit too.

# %% tags=["hide-input"]
Words(results.ahead(results.replicated(several)))

# %% tags=["hide-input"]
figures.show(
    results.strata(made),
    f"{largest}: recall@20 by how often training has a code; each group has about as many answers.",
)

# %% [markdown]
# (dualk-metrics)=
# ## The study's scores beside plain ones
#
# The study's F1 is given the number of codes of every patient, and weights codes by how often they
# are true; it is not a macro average. Its recall divides by the smaller of k and that number. Both
# are higher than the plain scores of the same names.

# %% tags=["hide-input"]
Table(
    results.both(runs),
    "Both protocols by both families of scores. Capped: over the smaller of k and the true number",
)

# %% [markdown]
# (dualk-flaws)=
# ## Flaw by flaw
#
# Each row trains the corrected protocol with one flaw of the study put back. Where the test
# patients are the same, the change is over the same bootstrap draws of them; where the split
# differs they are other people. Where both were run under several random seeds (other cohorts,
# other weights), the table has the mean change over these, and the figure each. An interval that
# contains 0 shows no difference. Where the ranking is the same, the flaw has nothing to act on:
# training patients have every category of three digits, so their vocabulary is that of everyone.
# The last columns show the model against repeating earlier diagnoses, and the study's own scores.
# Only a network that has learnt can show what a flaw is worth; data sets on which it has not are
# left out.

# %% tags=["hide-input"]
taught = results.taught(several)
if taught:
    display(Table(results.every_flaw(taught), "What each flaw is worth"))
for name, found in taught.items():
    title = "change of recall@20 by one flaw at a time, 95 % intervals over patients."
    changes = results.worth(found)
    figures.show(figures.by_seed(changes, found["corrected"].experiment.seed), f"{name}: {title}")
    display(Words(at_every_seed(changes, "recall@20")))

# %% [markdown]
# ## Heart failure
#
# The study's second task asks whether the next visit has a code of heart failure. Most who will
# have it have had it, so the fair question is who gets it for the first time.

# %% tags=["hide-input"]
figures.show(results.heart_failure(runs), "Heart failure at the next visit, 95 % intervals.")

# %% [markdown]
# (dualk-bridge)=
# What synthetic records keep of this: [the last chapter](25-synthetic-signal).
#
# ## Claims of the study
#
# Statements of the text that can be tested on more than one data set.

# %% tags=["hide-input"]
for name, found in several.items():
    table = LEDGER.table(found)
    display(Words(f"{name}: of {len(table)} claims {tally(table)}."))

# %% tags=["hide-input"]
Table(LEDGER.shown(made, "DK-C"), f"{largest}: what the text claims, and what is left of it")
