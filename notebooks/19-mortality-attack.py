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
# How small a change reverses a prediction? For each stay that a model predicts correctly, the
# attack looks for a change of the measurements that reverses the prediction, and keeps it small and
# sparse: most values stay as they are. Such changes show which hours and series a model depends on,
# and how far it can be trusted with noisy records.
#
# The study's own attack has four faults: it takes the largest column sum for the L1 norm, counts
# that norm twice, keeps training the attacked model in the last batch, and attacks training stays;
# it reports no result. Here the norm enters by a proximal step, the model is frozen and compared
# bit by bit afterwards, and only held-out stays are attacked. Only cells that were measured may
# change, and values carried forward from them change along.

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
# A *verdict* is the predicted outcome: death, or survival below the threshold that validation stays
# chose. An attack *turns* a right verdict if it makes it wrong. First the study's own attack,
# corrected: one penalty, on every held-out stay. Values are scaled so that the middle 98 % of a
# series span from 0 to 1; changes have this unit, and changed values stay between 0 and 1.

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
# A model is only as robust as the strongest attack leaves it. Three different attacks are combined
# here, as AutoAttack (Croce & Hein 2020) does for images: the proximal attack with several
# penalties, long steps and random starts, without early stopping; projected gradient steps onto
# changes of at most so many cells; and a random search that needs no gradient. A stay counts as
# right only if none of them turns its verdict. A model that always predicts survival would be right
# for all survivors, whatever the attack. Fewer stays are attacked. All that follows on this page
# rests on this combined attack.

# %% tags=["hide-input"]
Table(
    results.robust_table(runs),
    "Share of held-out stays whose right verdict no change of so many cells turns, 95 % intervals",
)

# %% tags=["hide-input"]
figures.show(
    results.robust_curves(runs),
    "Stays whose right verdict the attack does not turn, by the number of cells or the L1 norm of "
    "the change; dashed: what randomized ablation certifies against any attack.",
)

# %% tags=["hide-input"]
Words(results.beside_library())

# %% tags=["hide-input"]
Words(results.defence(runs))

# %% [markdown]
# (m8)=
# ## Where models are susceptible
#
# Three maps of the bi-LSTM, as in the study: the share of stays whose cell is changed (gpp), the
# mean change where it is (ganzp), and their ratio, the sensitivity, high where small changes turn
# many verdicts. *First* is the first change that the proximal attack found, *best* the smallest of
# all.

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
    "Sensitivity: high where many stays are changed, and by little.",
)

# %% tags=["hide-input"]
Words(results.maps_words(attack))

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
# ## Do attacks transfer?
#
# The smallest changes stop at the decision boundary of the model that they were found on. [The last
# chapter](25-synthetic-signal) asks the same of models that never saw a real stay.

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
