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
# A score should be tested on data of known quality before it is used to judge a model. This page
# takes such data from the cohort: real patients as they are, and real patients spoiled in one way
# each. A score *sees* a fault if it rates the spoiled patients worse than every fresh sample of
# real ones. Many scores fail this test, among them those of the report.

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
# ## Patients of known quality
#
# Some training patients serve as the training set of an imagined generator. The book compares every
# score with five *reference points*: fresh real patients, the same with every column shuffled, an
# empty table, training patients copied, and training patients resampled. Here two more fresh
# samples are added, and three more faults: codes dropped at random until 64 % are left (as many as
# the report's headline model has), the rarest third of the vocabulary removed, and counts a
# thousand times too high (a diverged model).

# %%
size = min(2000, len(cohort.test), len(cohort.train) // 6)
rng = np.random.default_rng(seed)
test = cohort.test.take(rng.permutation(len(cohort.test))[:size])
order = rng.permutation(len(cohort.train))[: 6 * size]
parts = np.split(order, [4 * size, 5 * size])
train, *fresh = (cohort.train.take(part) for part in parts)

# %%
counts = fresh[0].dense(np.int64)
recorded = cohort.train.counts.sum(axis=0)
rarest = np.argsort(recorded, kind="stable")[: len(recorded) // 3]
kept = ~np.isin(np.arange(len(recorded)), rarest)
faults = {
    "36 % dropped": rng.binomial(counts, 0.64),
    "rarest third gone": counts * kept,
    "a thousand-fold": 1000 * counts,
}
sets = {f"fresh {place + 2}": part for place, part in enumerate(fresh)}
for name, spoiled in faults.items():
    sets[name] = CodeMatrix.from_array(spoiled, test.codes)

# %%
points = references(test, train=train, n=size, seed=seed)
how = {"train": train, "reference": points, "n": size, "seed": seed}
scored = {name: evaluate(test, made, **how) for name, made in sets.items()}

# %% tags=["hide-input"]
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
# The report reads all four as "lower is better". An empty table needs no model; a perfect model
# would score like the three fresh samples.

# %% tags=["hide-input"]
keys = [key for key in METRICS if key.startswith("reported.")]
sheet = results.sheet(scored, keys).T
Table(
    sheet,
    f"The report's scores of {size:,} patients of known quality against {size:,} test patients",
    digits=4,
)

# %% tags=["hide-input"]
copies = test.dense()
shuffled = copies[rng.permutation(size)]
Words(
    "Two of the four compare row with row, so they depend on the order of the patients. The test "
    f"patients themselves score a DDM of {ddm(copies, copies):.3g} and a cosine share of "
    f"{cosine_share(copies, copies):.1%} in the same order, {ddm(copies, shuffled):.3g} and "
    f"{cosine_share(copies, shuffled):.1%} in another. DDM also divides by the number of patients: "
    f"on half of them it is {ddm(copies[: size // 2], shuffled[: size // 2]):.3g}."
)

# %% [markdown]
# ## The scores used here
#
# They are defined under [Methods](../methods.md).

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
# A fault counts as seen if the score is worse than on the worst of the three fresh samples, by more
# than these three differ among themselves. No score sees every fault, so this book never shows one
# score alone. A score that sees none should not be used to choose a model.

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
    "The faults that each score misses, most first",
)

# %% [markdown]
# ## What follows
#
# - Marginal scores, which look at one code at a time, cannot see shuffled columns. So they have no
#   floor-normalised gap {eq}`gap` in this book.
# - A copy of the training patients is as good as fresh patients by every fidelity score, as it
#   should be. Only privacy scores can see it.
# - The reported scores reward missing codes. The model that produces the fewest codes has the
#   lowest DDM.
# - All scores are coarse on small samples, and the floor, the score of fresh real patients, depends
#   on the number of patients. So scores are compared only at equal numbers.
