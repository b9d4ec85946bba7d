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
# # Whole patients
#
# The models of the other pages make a patient one row of codes. Most questions need more: sex and
# age, the days between visits, how long a stay was and how it ended, and which codes recur. One
# generator makes all of it. Every fact of a patient is erased with a certain probability,
# independently, and a network restores the facts one by one: for the count of a code this is
# binomial thinning {cite:p}`chen2023`, for a column masked diffusion. A visit is drawn given the
# patient's columns and the visits before. So any part of a patient can be given and the rest drawn.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import display

from reproduction import estimates, figures
from reproduction.synthesis import results, scores, whole
from reproduction.tables import Table, Words, benchmark, folded
from scoehr.files import check_seed

seed = check_seed(seed)
runs = whole.shown(dataset, source, profile, seed)
first = runs[0]
curves = first.metrics["curves"]
display(results.origin({}, dataset=dataset, profile=profile, seed=seed))
Words(whole.summary(runs))

# %% [markdown]
# (v0)=
# ## From a CSV to whole patients in five lines
#
# One table is enough: `patients.csv`, with a row a patient and a column for each thing known.
# `visits.csv` and `codes.csv` may be added ([formats](../data.md)). The example has a few hundred
# patients and few epochs, so it shows only that the code runs.

# %% tags=["hide-input"]
import tempfile
from pathlib import Path

from scoehr.data import patients
from scoehr.generators import Whole, WholeConfig

split = patients.load(dataset, source).patients.split()
few = split.train.take(range(min(300, len(split.train))))
folder = Path(tempfile.mkdtemp())
few.write(folder / "few")
for table in (folder / "few").glob("*.parquet"):
    pd.read_parquet(table).to_csv(folder / f"{table.stem}.csv", index=False)

# %%
hospital = patients.load("table", folder).patients
model = Whole(WholeConfig(width=32, epochs=2))
model.fit(hospital, seed=seed, progress=False)
model.save(folder / "model")
made = Whole.load(folder / "model").sample(500, seed=seed, progress=False)
made.write(folder / "synthetic")

# %% tags=["hide-input"]
columns = [*made.columns.names, *made.visit_columns.names]
Words(
    f"{len(made):,} synthetic patients with {made.starts[-1]:,} visits and {made.counts.sum():,} "
    f"codes; columns: {', '.join(columns).replace('_', ' ') or 'none'}."
)

# %% [markdown]
# The same from the shell, with conditions on what patients have and lack, and with partial patients
# completed:
#
# ```shell
# scoehr fit hospital --preset whole --out model
# scoehr sample model -n 1000 --out synthetic
# scoehr sample model -n 1000 --given sex=F --given 428 --without 585 --out failing
# scoehr complete model partial --visits --out completed
# scoehr evaluate held-out synthetic --train hospital --html report.html
# ```
#
# (v1)=
# ## As a clinician reads them
#
# Ten synthetic and ten held-out patients in random order: columns of the patient, then the visits
# with the days between them. Where the cohort is simulated, its *real* patients are simulated too;
# those of other data sets are not shown.

# %% tags=["hide-input"]
held_out = split.test if dataset == "simulated" else None
cards, answer = whole.blinded(held_out, first.synthetic, seed=seed)
display(cards)
answer

# %% [markdown]
# (v2)=
# ## Targets and measurements
#
# The targets were set before the generator was written. Beside them stand the finished runs at the
# largest profile of each data set. The AUROC lost is that of a classifier trained on synthetic
# patients, below one trained on as many real ones; both are tested on held-out patients. On the
# simulated cohort the intervals of 500 odds ratios were to hold the truth as often as those of
# fresh real patients, within two points.

# %% tags=["hide-input"]
found = whole.published() or {dataset: runs}
display(Table(whole.targets(found), "Targets, and whether the finished runs reach them"))
if dataset == "simulated" and source is None:  # whose law is known
    display(Words(whole.covered(first, split.test)))

# %% [markdown]
# Beside other tools for such tables, each fitted to the same patients on one core with its own
# settings, rare values kept (`python -m benchmarks.peers`):

# %% tags=["hide-input"]
Words(whole.beside_peers(benchmark("peers")))

# %% [markdown]
# (v3)=
# ## Rules that no real patient breaks
#
# A simulated hospital with known rules (`python -m benchmarks.rules`). The generator finds the
# rules that all training patients keep and that chance cannot explain; a synthetic patient who
# breaks one is drawn again. *Independent codes* says how often chance alone breaks each rule.

# %% tags=["hide-input"]
kept = benchmark("rules")
display(
    Table(
        whole.broken(kept),
        f"Per cent of {kept['patients']:,} patients of each kind who break a rule, of those whom "
        "its first fact makes subject to it",
    )
)
Words(whole.broken_words(kept))

# %% [markdown]
# (v4)=
# ## Scores beside their reference points
#
# *Independent columns* keeps the number of visits of each patient and shuffles every column, and
# every code of a visit, on its own. *Shuffled visits* assigns whole real visits to patients at
# random: right within a visit, wrong across. The gap is 0 where a score is that of fresh real
# patients and 1 where it is that of independent columns.

# %% tags=["hide-input"]
Table(whole.sheet(runs), estimates.caption([len(runs)]))

# %% tags=["hide-input"]
drawn = [
    f"whole.{name}"
    for name in ("overlap_ks", "moves_variation", "recurrence_mae", "discriminator_auc_returning")
]
rows = {"synthetic": runs}
points = scores.points(rows, drawn, ("real", "shuffled", "independent"))
figures.show(
    figures.dots(scores.panels(rows, drawn), references=points),
    "Scores that need the order of visits; lower is better, and a line is a reference point.",
)

# %% tags=["hide-input"]
apart = pd.DataFrame(curves["columns"]).sort_values("apart", ascending=False).head(10)
if len(apart):
    display(
        Table(
            apart[["apart", "column"]]
            .set_axis(["distance", "column"], axis=1)
            .reset_index(drop=True),
            "The columns that are farthest off: total variation of categories, "
            "Kolmogorov-Smirnov statistic of numbers",
        )
    )

# %% [markdown]
# ## How often patients come, and with how many codes

# %% tags=["hide-input"]
figures.show(
    whole.shares(curves),
    "Visits per patient and codes per visit; the last point holds all that lies beyond it.",
)

# %% [markdown]
# ## Which codes recur
#
# A chronic condition is recorded again and again, an acute one mostly once. For each code with
# enough chances to recur: the share of later visits that record it again, among patients who had it
# before.

# %% tags=["hide-input"]
again = pd.DataFrame(curves["recurrence"])
figures.show(
    figures.agreement(
        {"synthetic": (again["real"], again["synthetic"])},
        xlabel="recurs, real",
        ylabel="recurs, synthetic",
    ),
    f"Recurrence; a dot is a code, {len(again)} codes, first random seed.",
)

# %% tags=["hide-input"]
shown = again.sort_values("real", ascending=False).head(10).set_index("code")
names = shown["title"].where(shown["title"] != "", shown.index)
Table(
    shown.assign(diagnosis=names)[["diagnosis", "real", "synthetic"]],
    "The codes that recur most",
)

# %% [markdown]
# (v5)=
# ## Every finished run
#
# The finished runs on each data set, at the largest profile that has any.

# %% tags=["hide-input"]
for name, those in whole.published().items():
    table = Table(whole.sheet(those), f"{name}. {estimates.caption([len(those)])}")
    display(folded(f"All scores on {name}", table))
