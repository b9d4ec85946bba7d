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
# # Validity
#
# Can an analysis use synthetic patients in place of real ones? The question is not whether they
# look alike, but whether what one concludes from them is true: associations between illnesses,
# prevalences within groups, risks, comparisons of models. The methods have {ref}`the definitions
# <validity>`.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import display

from reproduction import figures
from reproduction.synthesis import results, validity
from reproduction.tables import Table, Words
from scoehr.files import check_seed

seed = check_seed(seed)
runs = results.by_kind(results.runs(dataset, source, profile, seed))["count"]
cohort = results.cohort(runs, source)
results.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# Each set of synthetic patients stands beside as many fresh real ones: nothing is better.

# %% tags=["hide-input"]
found = validity.sets(runs, cohort)
Table(
    validity.scored(found, cohort),
    f"Scores of validity, first random seed, {len(found[validity.FRESH]):,} patients of each "
    "set. Intervals of odds ratios are of a difference, so that 95 % of the pairs of fresh real "
    "patients lie within.",
)

# %% tags=["hide-input"]
figures.show(
    figures.agreement(
        validity.odds(found, cohort),
        xlabel="log odds ratio, held-out patients",
        ylabel="log odds ratio",
    ),
    "A dot is a pair of codes, chosen by prevalence and a fixed order, not by who has both.",
)

# %% [markdown]
# ## Against the truth
#
# The law of the simulated cohort gives the true odds ratio of any two codes, and says which codes
# nobody can have together. The pairs were chosen by the law, before any patient was looked at.

# %% tags=["hide-input"]
if dataset == "simulated" and source is None:
    law = validity.against_law(found, runs)
    sheet = pd.DataFrame.from_dict(law, orient="index")
    display(Table(sheet, "Synthetic patients against the exact law of the simulated cohort"))
    display(Words(validity.coverage(law)))
else:
    display(Words("These data have no known law; the page on the simulated cohort shows it."))
