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
# # Does a synthetic record carry the signal, and the weak points?
#
# The three studies meet in one question. The first makes records; the other two learn from records
# and can be misled by them. Can a model that was trained on synthetic records alone predict for
# real patients? If so, does it fail where models of real records fail, so that whoever has
# synthetic records can attack the real model?
#
# Every answer stands beside its floor: what other *real* patients of the same hospital would give.
# No generator can be expected to give more.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from companions.dualk import results as diagnoses
from companions.mortality_attack import results as mortality
from reproduction import figures
from reproduction.tables import Table, Words
from scoehr.files import check_seed

seed = check_seed(seed)
stays = mortality.runs(dataset, source, profile, seed, ["signal"])["signal"]
visits = diagnoses.signals(dataset, source, profile, seed)
mortality.origin({"signal": stays}, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (s1)=
# ## (a) Diagnoses of the next visit
#
# The generator of [whole patients](16-visits) learns the visits of the training patients of [the
# prediction study](22-dualk-results) and draws as many synthetic ones. Three predictors are trained
# on these alone, with epochs chosen by synthetic patients too, and tested on real patients whom
# neither generator nor predictor has seen: each code's own rates of recurrence, RETAIN, and DuaLK
# under the corrected protocol, whose disease graph is then one of synthetic visits. Beside them
# stand the same predictors trained on the real patients, on parts of these, and on real visits
# assigned to patients at random: these have every code as often, but no recurrence.

# %% tags=["hide-input"]
for name, run in visits.items():
    test = f"{run.metrics['patients']:,} real test patients"
    display(Words(f"**{name}**, profile `{run.experiment.profile}`, `{run.id}`"))
    display(
        Table(
            diagnoses.signal_table(run),
            f"Recall@20 on {test}, by what the predictor learnt from, 95 % intervals",
        )
    )
    figures.show(
        diagnoses.signal_differences(run),
        "Recall@20 less that of the same predictor trained on all real patients, 95 % intervals.",
    )
    display(Words(diagnoses.signal_kept(run)))

# %% [markdown]
# Do synthetic patients carry the disease graph and laboratory knowledge too? The same generator
# learns the abnormal laboratory items of a visit together with its codes, where there are any. The
# graph of its visits is compared with that of test patients: how many of each code's strongest
# neighbours are the same, and how the strengths of pairs correlate. DuaLK's laboratory stage, which
# predicts a visit's codes from its abnormal items, is trained on synthetic visits and tested on
# real ones. Visits of the real training patients are the floor, independent columns the other end.

# %% tags=["hide-input"]
for name, run in diagnoses.bridges(dataset, source, profile, seed).items():
    test = f"{run.metrics['visits']['test']:,} visits of {run.metrics['patients']:,} test patients"
    title = f"graph and laboratory stage against {test}, 95 % intervals over patients"
    display(Table(diagnoses.bridge_table(run), f"{name}, {run.experiment.profile}: {title}"))
    display(Words(diagnoses.bridge_kept(run)))

# %% [markdown]
# (s2)=
# ## (b) Death in intensive care
#
# A stay is a set of series over 48 hours, each measured now and then. The generator turns it into a
# vector (a smooth curve and a count of measurements a series, and the descriptors of the stay),
# makes every entry normal, and draws the leading components together with the outcome by the
# reverse SDE of [Methods](../methods.md). *Stays of the normal law* draw all components from one
# normal distribution instead, which the diffusion has to beat. The training stays are split into
# two halves. The generator sees one, the *other half*; the model of the first half is the *victim*,
# the one that will be attacked.

# %% tags=["hide-input"]
Table(
    mortality.signal_table(stays),
    f"AUROC on {stays.metrics['test']:,} real test stays, by what the models learnt from",
)

# %% tags=["hide-input"]
figures.show(
    mortality.signal_differences(stays),
    "Scores less those of models of the real stays that the generator saw, on the same test stays, "
    "95 % intervals.",
)

# %% tags=["hide-input"]
Words(mortality.signal_kept(stays))

# %% [markdown]
# The rows of real stays show how much two halves differ by chance, and what a quarter of the stays
# is worth.
#
# (s3)=
# ## (c) Are the weak points the same?
#
# The [combined attack](19-mortality-attack) looks for the smallest change that turns each right
# verdict, on networks of the two real halves and of synthetic stays, all on the same real test
# stays. For each series the share of stays whose change moves it is compared, by Spearman's rank
# correlation over series. The agreement of the two networks of real halves is the floor.

# %% tags=["hide-input"]
Words(mortality.broken_words(stays))

# %% tags=["hide-input"]
Table(
    mortality.alike_table(stays),
    "How alike the series are that two networks' changes move; intervals of 1.96 standard errors",
)

# %% tags=["hide-input"]
figures.show(
    mortality.weak_points(stays),
    "Share of turned stays whose series is changed, a dot a series: the victim against each of the "
    "other networks.",
)

# %% [markdown]
# (s4)=
# ## (d) Is a synthetic release an attack surface?
#
# An attacker who has neither the victim nor real stays trains a network on synthetic ones and looks
# for changes there. For each stay that the victim has right, the change of at most eight measured
# cells is taken that moves the attacker's own network farthest from the truth. The smallest changes
# that turn the attacker's network are tried as well; they stop at its decision boundary and need
# not reach the victim's.

# %% tags=["hide-input"]
Table(
    mortality.carried_table(stays),
    "Share of the victim's right verdicts that turn, by the network on which changes were found",
)

# %% tags=["hide-input"]
Words(mortality.carried_words(stays))

# %% [markdown]
# ## What this does not answer
#
# The generator of stays and its rivals were compared at one random seed and on one hospital's
# stays; intervals are over test stays and do not include the variation of training. The two data
# sets are of different patients, so (a) and (b) cannot be joined within a patient: that takes
# MIMIC-III or MIMIC-IV, where visits, diagnoses and stays belong together, and the same two
# commands.
