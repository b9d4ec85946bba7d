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
# # ScoEHR, reproduced, corrected, improved
#
# Hospital records are too private to share, so people train a generator on them and share patients
# who never lived. {cite:t}`naseer2023`, *the paper*, proposed ScoEHR, a latent diffusion on
# diagnosis codes; {cite:t}`team97`, *the report*, rebuilt it. This book runs both again, asks what
# their scores can tell, and replaces what holds the model back. All numbers are computed.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from reproduction import figures
from reproduction.synthesis import answer, contest, results, scores
from reproduction.synthesis.claims import LEDGER
from reproduction.tables import Table, Words, origin
from scoehr.files import check_seed

seed = check_seed(seed)
setting = {"dataset": dataset, "source": source, "profile": profile, "seed": seed}
rows = results.rows(**setting)
runs = results.runs(**setting)
claims = LEDGER.table(rows)
every = [rows, *results.elsewhere(dataset, profile, seed).values()]
contests = [group for found in every for group in results.by_kind(results.rivals(found)).values()]
Words(
    "\n\n".join(
        [
            answer.reproduced(claims),
            answer.flaws(rows),
            answer.advice(contests),
            answer.basis(dataset, profile, seed),
        ]
    )
)

# %% tags=["hide-input"]
prevalence = results.shares(results.cohort(runs, source).test)
counts = results.by_kind(results.main(rows)).get("count", {})
figures.show(
    answer.picture(runs, prevalence),
    f"{contest.nearest(counts)} Above: share of patients with each code, synthetic against real. "
    "Below: floor-normalised gaps, 0 as good as fresh real patients, 1 as bad as independent "
    "columns.",
)

# %% tags=["hide-input"]
Table(LEDGER.headlines(rows), "The claims that matter most: as reported, here, and the verdict")

# %% tags=["hide-input"]
origin(dataset, profile, seed)

# %% [markdown]
# ## The models in a sentence each

# %% tags=["hide-input"]
main = results.main(rows)
Words("\n".join(f"- {answer.summary(name, found)}" for name, found in main.items()))

# %% tags=["hide-input"]
for kind, group in results.by_kind(main).items():
    display(
        Table(
            scores.table(group, answer.HEADLINE, references=("real", "independent")),
            f"Main scores on {results.KINDS[kind]}, with those of fresh real patients and of "
            f"independent columns. {scores.caption(group)}",
        )
    )

# %% [markdown]
# [Every claim and its verdict](00-claims.ipynb). How to read the scores, and where to find what:
# [how to read this book](../reading.md). To see the recommended generator at work, [draw patients
# yourself](../try-it.md) in your browser.
