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
# # Prediction
#
# Can a classifier learn from synthetic patients? They have no labels, which is the report's reason
# for leaving out the paper's fourth score; but every code can serve as a label {cite:p}`choi2017`.
# Here classifiers predict the presence of a code from all others. They are trained on real or on
# synthetic patients, and tested on other real patients.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import display

from reproduction import figures
from reproduction.synthesis import ablations, reported, results, scores
from reproduction.tables import Table, Words, cell, origin
from scoehr.files import check_seed
from scoehr.metrics import METRICS, prediction

seed = check_seed(seed)
every = results.main(results.rows(dataset, source, profile, seed))
rows = scores.ended(every)
runs = results.runs(dataset, source, profile, seed)
kinds = results.by_kind(rows)
origin(dataset, profile, seed)

# %% tags=["hide-input"]
Words(scores.divergences(every))

# %% [markdown]
# ## One code at a time
#
# Dimension-wise prediction: for each of the most prevalent codes one logistic regression is fitted
# to real and one to synthetic patients, and both are tested on the same real ones. On the diagonal
# both serve equally well.

# %% tags=["hide-input"]
tables = {}
for name, run in runs.items():
    cohort, size = results.cohort({name: run}, source), run.metrics["n"]["rows"]
    test, train = (
        part.take(np.arange(min(len(part), size))).counts for part in (cohort.test, cohort.train)
    )
    made = run.synthetic.align(cohort.test.codes).counts
    tables[name] = prediction.dimension_wise(test, made, train=train).assign(
        title=lambda table, cohort=cohort: [cohort.test.titles[code] for code in table["code"]]
    )
lost = {
    name: scores.made((table["auroc_real"] - table["auroc_synthetic"]).mean(), [runs[name]])
    for name, table in tables.items()
}
figures.show(
    figures.agreement(
        {name: (table["auroc_real"], table["auroc_synthetic"]) for name, table in tables.items()},
        xlabel="AUROC, trained on real",
        ylabel="AUROC, trained on synthetic",
    ),
    "Mean AUROC lost by training on synthetic patients: "
    + ", ".join(f"{loss:.3f} ({name})" for name, loss in lost.items())
    + ". A dot is a code, first random seed.",
)

# %% tags=["hide-input"]
figures.show(
    figures.agreement(
        {name: (table["f1_real"], table["f1_synthetic"]) for name, table in tables.items()},
        xlabel="F1, trained on real",
        ylabel="F1, trained on synthetic",
    ),
    "The same for F1, as Choi et al. drew it.",
)

# %% tags=["hide-input"]
group = results.by_kind(runs)["count"]
best = next(iter(group))
shown = (
    tables[best]
    .set_index("title")[["prevalence", "auroc_real"]]
    .rename(columns={"auroc_real": "trained on real"})
)
for name in group:
    shown[name] = tables[name].set_index("title")["auroc_synthetic"]
Table(
    shown.head(12).rename_axis(None),
    "AUROC for the twelve most prevalent codes, counts, first random seed",
)

# %% [markdown]
# ## Train on synthetic, test on real
#
# The same over random seeds, with the reference points: what training on other real patients, on
# shuffled columns or on an empty table loses.

# %% tags=["hide-input"]
keys = [key for key in METRICS if key.startswith("utility.")]
for kind, group in kinds.items():
    sheet = scores.table(group, keys, references=scores.FLOORS)
    display(
        Table(
            sheet,
            f"Learning from synthetic patients, {results.KINDS[kind]}. {scores.caption(group)}",
        )
    )

# %% [markdown]
# (sra)=
# ## Synthetic ranking agreement
#
# SRA asks whether classifiers rank alike on synthetic and on real patients: the share of ordered
# pairs of classifiers that both put in the same strict order, here of six classifiers, averaged
# over target codes. Fresh real patients do not reach 1, since classifiers of nearly equal quality
# change places by chance; other draws of real patients show how far chance alone leads.

# %% tags=["hide-input"]
table = {}
for kind, group in kinds.items():
    point = next(
        run.metrics["reference"]["real"] for runs_ in group.values() for run in runs_ if run.metrics
    )
    again = point.get("replicates", {}).get("utility.sra", [])
    spread = f" [{cell(min(again))}, {cell(max(again))}] in {len(again)} draws" if again else ""
    for name, found in group.items():
        table[name] = {
            "data": results.KINDS[kind],
            "SRA": str(scores.over_seeds(found, "utility.sra")),
            "fresh real patients": cell(np.mean(again) if again else point["utility"].get("sra"))
            + spread,
            "independent columns": cell(scores.point(group, "independent", "utility.sra")),
        }
Table(
    pd.DataFrame.from_dict(table, orient="index"),
    f"Synthetic ranking agreement. {scores.caption(rows)} Of fresh real patients: mean and range "
    "over draws",
)

# %% tags=["hide-input"]
Table(
    reported.paper()[["SRA"]].dropna().rename_axis(None),
    f"Published by the paper for MIMIC-III; ScoEHR {ablations.of_paper()['utility.sra']}. The "
    "report left it out",
)
