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
# # Clinician review
#
# The paper asked three clinicians whether records look real. **No clinician has been asked here.**
# This page has what such a review needs, a packet and its scoring. It also has what can be said
# without one: what the reported answers amount to, and how well a classifier, which is no
# clinician, tells the records apart.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from IPython.display import display

from reproduction.synthesis import experiments, reported, results, review, scores
from reproduction.tables import Html, Table, Words, cell
from scoehr.data.datasets import DATASETS
from scoehr.files import check_seed

seed = check_seed(seed)
runs = results.runs(dataset, source, profile, seed)
results.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (h2)=
# ## What the reported answers amount to
#
# Each clinician labelled equal numbers of real and synthetic records as realistic or not, and three
# rules make one label of the votes on a record. The rules are nested: what every clinician accepts,
# most accept, and any accepts. So the reported shares give back how many records had no, one, two
# and three votes. From these follow intervals, agreement beyond chance (Fleiss' kappa
# {cite:p}`fleiss1971`) and how well the clinicians told the two kinds apart. The interval of a
# difference is Newcombe's {cite:p}`newcombe1998`.

# %%
facts = reported.QUOTES.values
shares = pd.DataFrame(facts["clinicians"]).sort_values("real", ascending=False)
whole = facts["clinicians_records"]
votes = [-np.diff([whole, *shares[s] * whole // 100, 0]) for s in review.ORIGINS]
found = review.judge(votes)
votes

# %% tags=["hide-input"]
rules = {
    name: {side: f"{share:.2f}" for side, share in rule.items()}
    for name, rule in found["rules"].items()
}
display(
    Table(
        pd.DataFrame(rules).T,
        "Share of records that count as realistic, as reported, with 95 % intervals",
    )
)
kappa, right, auc = (found[name] for name in ("kappa", "accuracy", "auc"))
difference = found["rules"]["every reviewer"]["difference"]
apart = max(abs(difference.low), abs(difference.high))
blind = auc.low <= 0.5 <= auc.high
Words(
    f"Fleiss' kappa is {kappa:.2f}: beyond chance, the clinicians agree "
    f"{'little' if kappa.value < 0.4 else 'well'} on which records are odd. Taken as answers to "
    f"*is it real?*, a share of {right:.2f} of them is right, and ranking records by their votes "
    f"tells synthetic from real with an AUC of {auc:.2f}, "
    f"{'no better than' if blind else 'unlike'} "
    f"guessing. So the reported answers {'bear out' if blind else 'do not bear out'} that the "
    "clinicians could not tell; but with so few records, shares "
    f"{apart:.0%} apart could have gone unnoticed."
)

# %% [markdown]
# Realism is a weak test in any case: a generator that repeats one healthy record, or copies its
# training set, passes it. It does not test rare codes, correlations or privacy.
#
# ## What a reviewer would see
#
# The packet mixes held-out patients with synthetic ones of the thinning model under new numbers. It
# has a form, one HTML page that keeps its answers, works offline and prints; the same as tables;
# and, apart from these, the key. Where the cohort is simulated, its *real* patients are simulated
# too.

# %%
test = experiments.cohort(dataset, source).test
packet = review.packet(test, runs["thinning"].synthetic, seed=seed)

# %% tags=["hide-input"]
open_data = [
    origin
    for origin in review.ORIGINS
    if origin == "synthetic" or not DATASETS[dataset].credentialed
]
rows = sorted(
    row
    for origin in open_data
    for row in np.flatnonzero(packet.origins == origin)[: 2 // len(open_data)]
)
display(Html("\n".join(review.card(packet, row) for row in rows)))
hidden = " Real ones of this data set are not shown." * (len(open_data) < len(review.ORIGINS))
Words(f"Which is which: {', then '.join(packet.origins[rows])}.{hidden}")

# %% [markdown]
# ## The stand-in
#
# A classifier is trained on half of the held-out and synthetic patients, and tested on the other
# half. It sees every code of thousands of patients at once, which no clinician does, and knows no
# medicine: it finds faults that no clinician would see, and may miss what any would. It is shown
# because no clinician was asked; it does not replace one.

# %% tags=["hide-input"]
key = "utility.discriminator_auc"
rows = results.main(results.rows(dataset, source, profile, seed))
aucs = {name: str(scores.over_seeds(found, key)) for name, found in rows.items()}
aucs = {"fresh real patients": cell(scores.point(rows, "real", key)), **aucs}
Table(
    pd.DataFrame({"AUC": aucs}),
    f"AUC of a classifier between synthetic and real. {scores.caption(rows)}",
)

# %% [markdown]
# ## Run a review
#
# ```sh
# scoehr review synthetic_data/RUN.parquet --out packet
# ```
#
# The folder goes to the reviewers, the key does not. Each returns one sheet; then
#
# ```sh
# scoehr review --score scores-AB.csv scores-CD.csv scores-EF.csv \
#     --key packet-key-not-for-reviewers.csv
# ```
#
# prints the three rules, kappa and AUC as above. A packet with real patients of a credentialed data
# set cannot be written to the folders that are published.
