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
# # Every score
#
# Appendix: every score of the main models, its distance from real patients, and the prevalence of
# each code. The folders of `saved_models` hold the same for every run, as `scores.parquet` and
# `frequencies.parquet`.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from reproduction import figures
from reproduction.synthesis import results, scores
from reproduction.tables import Table, folded, origin
from scoehr.files import check_seed
from scoehr.metrics import METRICS

seed = check_seed(seed)
rows = results.main(results.rows(dataset, source, profile, seed))
runs = results.runs(dataset, source, profile, seed)
origin(dataset, profile, seed)

# %% [markdown]
# ## How far from real
#
# The floor-normalised gap {eq}`gap` of every score that has one. A score has none if it cannot tell
# independent columns from patients.

# %% tags=["hide-input"]
gaps = scores.gaps(rows)
closest = scores.means(gaps).median().sort_values()
figures.show(
    figures.gaps(scores.means(gaps)),
    "Median gap over the "
    f"{len(gaps)} scores: "
    + ", ".join(
        f"{scores.made(value, scores.labelled(rows)[name]):.2f} ({name})"
        for name, value in closest.items()
    )
    + ". Mean over random seeds; arrows lie outside the frame.",
)

# %% tags=["hide-input"]
caption = (
    f"0 as good as fresh real patients, 1 as bad as independent columns. {scores.caption(rows)}"
)
folded("The same in numbers", Table(scores.formatted(gaps), caption))

# %% [markdown]
# ## Marginals, code by code

# %% tags=["hide-input"]
for kind, group in results.by_kind(runs).items():
    real = results.shares(results.cohort(group, source).test)
    made = {name: results.shares(run.synthetic) for name, run in group.items()}
    under = {
        name: scores.made((value[real > 0] < real[real > 0] / 2).mean(), [group[name]])
        for name, value in made.items()
    }
    figures.show(
        figures.prevalence(real, made),
        "Less than half as common as in real patients: "
        + ", ".join(f"{share:.0%} of codes ({name})" for name, share in under.items())
        + f". Each dot is a code ({results.KINDS[kind]}), first random seed; dots on the lower "
        "edge are rarer than half of the rarest real code.",
    )

# %% [markdown]
# ## All scores

# %% tags=["hide-input"]
for kind, group in results.by_kind(rows).items():
    sheet = scores.table(group, METRICS, references=scores.FLOORS)
    caption = f"All scores on {results.KINDS[kind]}. {scores.caption(group)}"
    display(folded(f"All {len(sheet)} scores on {results.KINDS[kind]}", Table(sheet, caption)))
