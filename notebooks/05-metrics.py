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
# # What the scores cannot see
#
# Before a score is believed, it should be shown data whose worth is known. This page takes such
# data from the cohort at hand: real patients that no model has touched, and real patients spoiled
# in one way each. A score is good for a fault if it rates the spoiled patients worse than any fresh
# sample of real ones. Many scores fail this, those of the report among them.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from reproduction import figures
from reproduction.synthesis import ablations, experiments, results
from reproduction.tables import Table, Words, origin
from scoehr.data.matrix import CodeMatrix
from scoehr.files import check_seed
from scoehr.metrics import METRICS, evaluate, references
from scoehr.metrics.reported import cosine_share, ddm

seed = check_seed(seed)
cohort = experiments.cohort(dataset, source)
origin(dataset, profile, seed)

# %% [markdown]
# ## Patients of known worth
#
# A part of the training patients plays the training set of an imagined generator. From it come the
# five reference points of the book: fresh patients that were set aside, the same with every column
# shuffled, an empty table, training patients copied, and training patients resampled. Two further
# fresh samples and three more faults are added: codes dropped at random until 64 % are left (the
# share that the report's headline model has), the rarest third of the vocabulary gone, and counts a
# thousandfold too high (a diverged model).

# %% tags=["hide-input"]
size = min(2000, len(cohort.test), len(cohort.train) // 6)
rng = np.random.default_rng(seed)
order = rng.permutation(len(cohort.train))
test = cohort.test.take(rng.permutation(len(cohort.test))[:size])
train, *fresh = (
    cohort.train.take(part) for part in np.split(order[: 6 * size], [4 * size, 5 * size])
)

# %% tags=["hide-input"]
counts = fresh[0].dense(np.int64)
rarest = np.argsort(cohort.train.counts.sum(axis=0), kind="stable")[: counts.shape[1] // 3]
faults = {
    "36 % dropped": rng.binomial(counts, 0.64),
    "rarest third gone": np.where(np.isin(np.arange(counts.shape[1]), rarest), 0, counts),
    "a thousand-fold": 1000 * counts,
}
sets = {f"fresh {place + 2}": part for place, part in enumerate(fresh)}
sets |= {name: CodeMatrix.from_array(spoiled, test.codes) for name, spoiled in faults.items()}

# %% tags=["hide-input"]
points = references(test, train=train, n=size, seed=seed)
scored = {
    name: evaluate(test, made, train=train, reference=points, n=size, seed=seed)
    for name, made in sets.items()
}
names = {
    "real": "fresh 1",
    "independent": "columns shuffled",
    "zero": "no codes",
    "copy": "training copied",
}
scored = {title: points[name] for name, title in names.items()} | scored
scored = {
    name: scored[name] for name in sorted(scored, key=lambda name: not name.startswith("fresh"))
}

# %% [markdown]
# ## The reported scores
#
# The report reads all four as "lower is better". An empty table needs no model at all; what the
# three fresh samples score is the best that any model can hope for.

# %% tags=["hide-input"]
keys = [key for key in METRICS if key.startswith("reported.")]
sheet = results.sheet(scored, keys).T
Table(
    sheet,
    f"The report's scores of {size:,} patients of known worth against {size:,} test patients",
    digits=4,
)

# %% tags=["hide-input"]
copies = test.dense()
shuffled = copies[rng.permutation(size)]
Words(
    "Two of the four compare row with row. The very test patients in the same order score a DDM of "
    f"{ddm(copies, copies):.3g} and a cosine share of {cosine_share(copies, copies):.1%}; the same "
    "people in another "
    f"order {ddm(copies, shuffled):.3g} and {cosine_share(copies, shuffled):.1%}. DDM also divides "
    "by the number of "
    f"patients: on half of them it is {ddm(copies[: size // 2], shuffled[: size // 2]):.3g}."
)

# %% [markdown]
# ## The scores used here

# %% tags=["hide-input"]
keys = [
    "fidelity.density_ratio",
    "fidelity.prevalence_mae",
    "fidelity.codes_missing",
    "fidelity.pcd",
    "fidelity.pcd_top200",
    "fidelity.log_cluster",
    "fidelity.log_cluster_weighted",
    "fidelity.patient_codes_ks",
    "utility.discriminator_auc",
    "privacy.membership_auc",
    "privacy.exact_match_rate",
]
sheet = results.sheet(scored, ablations.CORRECTED).T
Table(sheet, "The corrected scores of the same patients")

# %% [markdown]
# ## Which score sees which fault
#
# Seeing is meant strictly: worse than the worst of the three fresh samples, in the direction that
# the score claims, by more than those three differ among themselves. No score sees everything,
# which is why none is shown alone in this book; and a score that sees nothing should not be used to
# choose a model.

# %% tags=["hide-input"]
every = [key for key in METRICS if key.startswith("reported.")] + keys
seen = results.sees(scored, every, fresh=[name for name in scored if name.startswith("fresh")])
blind = seen.eq(False).sum(axis=1)
figures.show(
    figures.verdicts(seen),
    f"Of {seen.shape[1]} faults, {blind.idxmax()} misses {blind.max()} and {blind.idxmin()} "
    f"{blind.min()}. A dash "
    "means that the score is undefined there.",
)

# %% tags=["hide-input"]
missed = pd.DataFrame(
    {
        "faults missed": blind,
        "among them": [", ".join(seen.columns[row.eq(False)]) for _, row in seen.iterrows()],
    }
)
Table(
    missed.sort_values("faults missed", ascending=False, kind="stable"),
    "The same in words, blindest first",
)

# %% [markdown]
# ## What follows
#
# - Marginal scores cannot see shuffled columns, by construction: they look at one code at a time.
#   So they have no floor-normalised gap in this book.
# - A copy of the training patients is as good as fresh patients in every fidelity score, and should
#   be. Only the privacy scores can object.
# - The reported scores reward leaving codes out. The lowest DDM of all belongs to the model that
#   says least.
# - Small samples make all scores coarse. The floor moves with the number of patients, so scores
#   compare only at equal numbers.
