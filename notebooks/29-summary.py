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
# # Summary
#
# On one page, in the form of the ML Reproducibility Challenge. Its numbers are computed from the
# runs and from what the studies report.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from companions.dualk import results as dualk_results
from companions.mortality_attack import claims as mortality
from companions.mortality_attack import results as mortality_results
from reproduction.synthesis import answer, results, summary
from reproduction.synthesis.claims import LEDGER
from reproduction.tables import Words
from scoehr.files import check_seed

seed = check_seed(seed)
setting = {"dataset": dataset, "source": source, "profile": profile, "seed": seed}
rows = results.rows(**setting)
ledgers = {
    "the paper and the report": LEDGER.table(rows),
    "the LSTM attack study": mortality.LEDGER.table(mortality_results.runs(**setting)),
    "DuaLK": dualk_results.judged(**setting),
}
every = [rows, *results.elsewhere(dataset, profile, seed).values()]
contests = [group for found in every for group in results.by_kind(results.rivals(found)).values()]
display(results.origin(rows, dataset=dataset, profile=profile, seed=seed))
Words(
    "\n\n".join(
        [
            f"**Scope.** {summary.scope(ledgers)}",
            f"**Methodology.** {summary.methodology(rows)}",
            f"**Results.** {answer.flaws(rows).partition('** ')[2]}\n\n{summary.verdicts(ledgers)}",
            f"**What was easy.** {summary.easy()}",
            f"**What was difficult.** {summary.difficult(ledgers['the paper and the report'])}",
            "**Recommendation.** " + answer.advice(contests).partition("** ")[2],
            "**Communication.** The authors of the studies have not been asked, and have not seen "
            "this book.",
        ]
    )
)

# %% [markdown]
# What was run at which scale: [What was run, beside the studies](26-scale.ipynb). Every table and
# figure: [The studies' tables and figures](27-exhibits.ipynb). Every run:
# [Find a run](28-runs.ipynb).
