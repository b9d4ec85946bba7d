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
# # Intensive care: the attack
#
# How little has to change for a prediction to turn? For each stay that a model has right, the
# attack looks for a change of the measurements that turns the verdict, and keeps it small and
# sparse: most values stay as they are. It shows which hours and series a model leans on, and how
# far it can be trusted with noisy records.
#
# The study's own attack has four faults: it takes the largest column sum for the L1 norm, counts
# that norm twice, trains the attacked model along in the last batch, and attacks stays that the
# model has learnt from; it prints no result. Here the norm is a true proximal step, the model is
# frozen and its bits are compared afterwards, and only held-out stays are attacked. Only cells that
# were measured may change, and what is carried forward from them changes along.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from companions.mortality_attack import results
from companions.mortality_attack.claims import LEDGER
from reproduction import figures
from reproduction.tables import Table, Words
from scoehr.files import check_seed

seed = check_seed(seed)
runs = results.runs(dataset, source, profile, seed)
attacks = {name: run for name, run in runs.items() if run.experiment.task in ("attack", "worst")}
results.origin(attacks, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (m7)=
# ## How many verdicts turn
#
# First the study's own attack, mended: one penalty, on every held-out stay. Changes are in units in
# which the middle 98 % of a series' values span from 0 to 1, and 0 to 1 is the box that changed
# values stay in. A verdict is death from the threshold on that validation stays chose.

# %% tags=["hide-input"]
Table(
    results.attack_table(runs),
    "Attacks on held-out stays, by direction: share of right verdicts turned and the best change "
    "found, 95 % intervals",
)

# %% tags=["hide-input"]
figures.show(
    results.discovery(attacks),
    "Share of verdicts turned by each step: first change found (dashed), best one (solid).",
)

# %% tags=["hide-input"]
Words(results.noise_words(runs["attack-bilstm-study"]))

# %% [markdown]
# (m11)=
# ## The worst of several attacks
#
# A model is as strong as the best attack leaves it. Three attacks of different kinds are put
# together here, as AutoAttack (Croce & Hein 2020) does for images: the proximal attack with several
# penalties, long steps and random starts, without early stop; projected gradient steps onto changes
# of at most so many cells; and a random search that needs no gradient. The stays are fewer, and
# what is shown is the worst case. A stay counts as right only if no member turns its verdict;
# always calling survival would leave as many right as survive, whatever the attack. All that
# follows on this page rests on this attack.

# %% tags=["hide-input"]
Table(
    results.robust_table(runs),
    "Share of held-out stays that are right whatever is done to so many cells, 95 % intervals",
)

# %% tags=["hide-input"]
figures.show(
    results.robust_curves(runs),
    "Stays that are right whatever is done to so many cells, or within such an L1 norm, by the "
    "attack; dashed: what randomized ablation makes certain, whoever attacks.",
)

# %% tags=["hide-input"]
Words(results.beside_library())

# %% tags=["hide-input"]
Words(results.defence(runs))

# %% [markdown]
# (m8)=
# ## Where models are susceptible
#
# The share of stays whose cell is changed (gpp), the mean change where it is (ganzp), and their
# ratio, the sensitivity: high where small changes turn many verdicts. Of the bi-LSTM, as in the
# study; *first* is the first change that the proximal attack met, *best* the smallest of all.

# %% tags=["hide-input"]
attack = attacks["worst-bilstm-study"]
figures.show(
    results.heat_maps(attack, "gpp", "share of stays changed (gpp)"),
    "Share of stays whose value is changed.",
)

# %% tags=["hide-input"]
figures.show(
    results.heat_maps(attack, "ganzp", "mean change where changed (ganzp)"),
    "How far values are moved there.",
)

# %% tags=["hide-input"]
figures.show(
    results.heat_maps(attack, "sensitivity", "sensitivity (gpp / ganzp)"),
    "Sensitivity: often and by little.",
)

# %% tags=["hide-input"]
Table(
    results.clinical_table(attack),
    "The smallest changes in clinical units, of series that are changed in at least ten stays",
)

# %% tags=["hide-input"]
figures.show(
    results.histograms(attack),
    "How many cells are changed and how far, of the changes that turn a verdict.",
)

# %% [markdown]
# (m9)=
# ## Do changes carry over?
#
# The smallest changes stop at the border of the model that they were found on.
# [The last chapter](25-synthetic-signal) asks the same of models that never saw a real stay.

# %% tags=["hide-input"]
Table(
    results.transfer_table(runs),
    "Share of changes found against one model (row) that turn the right verdict of another "
    "(column), 95 % intervals",
)

# %% tags=["hide-input"]
Words(results.transfer_words(runs))

# %% tags=["hide-input"]
Words(results.speed())

# %% [markdown]
# (m10)=
# ## What is left of the claims

# %% tags=["hide-input"]
Table(
    LEDGER.shown(runs, "mortality-attack"),
    "The study's claims about its attack, tested on the runs of this page",
)
