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
# # Intensive care: the models
#
# The study reports that its bi-LSTM predicts death better than all earlier models, and improves for
# a thousand epochs without overfitting. A model that is scored on its own training stays, drawn so
# that half of them died, shows both. This page rebuilds that protocol, removes its flaws, and
# compares models under the corrected one.

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
every = results.runs(dataset, source, profile, seed)
runs = {name: run for name, run in every.items() if run.experiment.task in ("cohort", "model")}
results.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (m3)=
# ## What was reported

# %% tags=["hide-input"]
Table(
    results.quoted(),
    "The study's results: its own row last, the others as it quotes them; mean ± deviation over "
    "folds",
)

# %% [markdown]
# (m4)=
# ## Flaw by flaw
#
# The same network each time, from the corrected protocol to the reported one, with one more flaw in
# each row. *As scored* is what the protocol reports; *held out* are the same weights on patients
# who were in neither training nor validation.

# %% tags=["hide-input"]
Table(
    results.ladder_table(runs),
    "Scores with 95 % intervals over patients, as flaws are added to the corrected protocol one at "
    "a time",
)

# %% tags=["hide-input"]
figures.show(
    figures.by_seed(results.worth(runs), runs["reported"].experiment.seed),
    "What each flaw adds to the AUROC as scored, less the row above it (the last one whose "
    "training did not fail), at each random seed. 95 % intervals over the same draws of patients.",
)

# %% tags=["hide-input"]
Words(results.ladder_words(runs))

# %% tags=["hide-input"]
Words(results.artefact(runs))

# %% [markdown]
# The last flaw changes no weight: it only scores other stays. The study saw its scores rise for a
# thousand epochs and took that for the absence of overfitting. The figure shows the curves that it
# reported and those that it did not.

# %% tags=["hide-input"]
figures.show(
    results.two_curves(runs),
    "The reported model over its epochs: scores on the stays that it learns from, half of them "
    "deaths, and on held-out "
    "stays.",
)

# %% [markdown]
# (m5)=
# ## Models under the corrected protocol
#
# Logistic regression and boosted trees read summaries of each series (level, range, trend, how
# often measured, by day). GRU-D (Che et al. 2018) and the Transformer read the hours, as the
# bi-LSTM does. Beside them stand the scores by which the Challenge 2012 ranked models, and two
# severity scores that clinicians use: SAPS-I and SOFA. The threshold is chosen on validation stays,
# for F1. Averaged models differ in their random seed and in the fifth of the stays that stops their
# training.

# %% tags=["hide-input"]
Table(
    results.peers_table(runs),
    "Held-out stays at true prevalence, with 95 % intervals over patients",
    digits=3,
)

# %% [markdown]
# The recommended model is chosen by the stays that stop each member's training, never by the
# held-out ones.

# %% tags=["hide-input"]
Words(results.target(runs))

# %% tags=["hide-input"]
Table(
    results.subgroups_table(runs["best-all"]),
    "The recommended model in groups of the held-out stays, with 95 % intervals",
)

# %% tags=["hide-input"]
figures.show(
    results.calibration(runs, ["best-all", "bilstm-study", "reported"]),
    "Share who died against predicted probability, in tenths of the held-out stays, with 95 % "
    "intervals. On the "
    "diagonal the predicted probability is the share who died.",
)

# %% [markdown]
# (m12)=
# ## The study's search
#
# The study tunes its settings with Optuna. Trials are drawn from a space of networks and trainings,
# and judged by the loss on folds, which its code computes on training stays. Here the same space is
# searched on folds of the training stays, by the loss on the fold left out; validation and held-out
# stays have no part in it.

# %% tags=["hide-input"]
names = ["bilstm-study", "tuned-study", "curve"]
searched = results.runs(dataset, source, profile, seed, names)
tuned = searched["tuned-study"]
figures.show(
    results.search_curves(tuned),
    "Every trial of the search: cross-entropy on the stays left out, mean over folds. Trials end "
    "early where they are pruned.",
)

# %% tags=["hide-input"]
Words(results.search_words(searched))

# %% [markdown]
# (m13)=
# ## How many stays does it take?
#
# The same models, trained on parts of the stays and tested on all held-out ones. Small parts are
# drawn several times, and their mean is shown.

# %% tags=["hide-input"]
figures.show(
    results.learning_curve(searched["curve"]),
    "Scores on held-out stays by the number of stays that a model had, a fifth of them for "
    "validation; all series, 95 % intervals over test stays and parts.",
)

# %% tags=["hide-input"]
Words(results.learning_words(searched["curve"]))

# %% [markdown]
# (m6)=
# ## What is left of the claims

# %% tags=["hide-input"]
Table(
    LEDGER.shown(every, "mortality-model"),
    "The study's claims about its models, tested on the runs of this page",
)
