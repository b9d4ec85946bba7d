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
# # Feature frequency
#
# The report went beyond the paper here: it asked whether synthetic patients have as many codes as
# real ones, found that they have fewer, and rightly took that as a sign that the scores miss
# something. Its histograms, however, begin at ten occurrences, and so leave out the codes for which
# the answer is worst.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from reproduction import figures
from reproduction.synthesis import ablations, reported, results, scores
from reproduction.tables import Table, Words, cell
from scoehr.files import check_seed

seed = check_seed(seed)
rows = results.rows(dataset, source, profile, seed)
runs = results.runs(dataset, source, profile, seed)
results.origin(rows, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (f1)=
# ## Density
#
# The mean cell of the matrix: how many codes there are in all, per patient and code; and how many
# codes test patients have that no synthetic patient has (*never produced*), which fresh real
# patients, as many, lack too by chance. Rows of the report's table have its reported density beside
# ours; two runs of its headline model are given.

# %% tags=["hide-input"]
table = {}
for name, found in rows.items():
    real = found[0].frequency["real"].mean()
    made = scores.estimate(found, lambda run: scores.mean_cells(run)["synthetic"], least=0)
    quoted = ablations.reported_density(name)
    table[name] = {
        "title": found[0].experiment["title"],
        "real": real,
        "synthetic": str(made),
        "of real (%)": 100 * made.value / real,
        "reported": ", ".join(f"{density:g}" for density in quoted) or "–",
        "reported, of real (%)": ", ".join(
            f"{100 * density / reported.QUOTES.values['report_real_density']:,.0f}"
            for density in quoted
        )
        or "–",
        "never produced": str(scores.over_seeds(found, "fidelity.codes_missing")),
        "fresh real lack": cell(scores.point({name: found}, "real", "fidelity.codes_missing")),
    }
density = pd.DataFrame.from_dict(table, orient="index")
Table(
    density,
    "Mean cell of test and of synthetic patients, and codes never produced. "
    f"{scores.caption(rows)} The report gives "
    f"{reported.QUOTES.values['report_real_density']} for real patients.",
    {"real": "{:.4f}", "of real (%)": "{:.0f}"},
)

# %% tags=["hide-input"]
counts = density[density["synthetic"] != "diverged"]
fewer = (counts["of real (%)"] < 100).sum()
lacking = counts["of real (%)"].astype(float)
Words(
    f"{fewer} of {len(counts)} rows make fewer codes than real patients have; the fewest "
    f"{lacking.idxmin()} "
    f"({lacking.min():.0f} %), the most {lacking.idxmax()} ({lacking.max():,.0f} %). "
    f"{scores.divergences(rows)}"
)

# %% [markdown]
# The report's text gives 0.0083 for "the synthetic data", which is the model with 256 dimensions;
# the headline model has 0.0085, and the one without autoencoder, which the report calls the worst,
# is the nearest to real.

# %% [markdown]
# ## The histogram as reported, and whole
#
# How many codes occur how often, in equal numbers of real and synthetic patients. First from ten
# occurrences, as in the report:

# %% tags=["hide-input"]
tests = {name: results.cohort({name: run}, source).test for name, run in runs.items()}
size = min(len(run.synthetic) for run in runs.values())
size = min(size, *(len(test) for test in tests.values()))
group = results.by_kind(runs).get("count", runs)
counts = {
    name: run.synthetic.take(np.arange(size)).counts.sum(axis=0) for name, run in group.items()
}
first = tests[next(iter(group))].take(np.arange(size)).counts.sum(axis=0)
hidden = (first < 10).mean()
figures.show(
    figures.frequency(first, counts, start=10),
    f"What the report looked at. {hidden:.0%} of the codes occur fewer than ten times in these "
    f"{size:,} real patients and are not in the picture.",
)

# %% [markdown]
# And from one, with the codes that never occur as a bar on the left:

# %% tags=["hide-input"]
figures.show(
    figures.frequency(first, counts),
    f"Of {len(first):,} codes, {(first == 0).sum():,} do not occur in these {size:,} real "
    "patients.",
)

# %% [markdown]
# ## Code by code
#
# Every model of the tables, also those without an autoencoder: how often each code occurs in
# synthetic patients against how often in real ones.

# %% tags=["hide-input"]
group = results.by_kind(rows)["count"]
shown = {
    name: found
    for name, found in scores.ended(group).items()
    if found[0].experiment["group"] in ("main", "sizes", "heads")
}
real = scores.occurrences(next(iter(shown.values())), "real", 1)
made = {
    name: np.maximum(
        scores.occurrences([run for run in found if run.verdict == "finished"], "synthetic", 1), 0
    )
    for name, found in shown.items()
}
figures.show(
    figures.prevalence(real, made, of="occurrences per 100 patients"),
    "Each dot is a code, its mean over random seeds; codes rarer than half of the rarest real one "
    "lie on the lower edge.",
)

# %% [markdown]
# ## By how common the code is

# %% tags=["hide-input"]
shares = {name: dict(enumerate(scores.deciles(found), 1)) for name, found in rows.items()}
first = scores.means({name: shares[name] for name in results.main(rows)}).T
worst = {name: int(first[name].idxmin()) for name in first if first[name].notna().any()}
figures.show(
    figures.deciles(first, ylabel="synthetic / real occurrences (%)"),
    "Codes sorted by how common they are in real patients, a tenth of them each. Least produced, "
    "relative to real "
    "patients: " + ", ".join(f"decile {place} ({name})" for name, place in worst.items()) + ".",
)

# %% tags=["hide-input"]
Table(
    scores.formatted(shares).rename(columns="decile {}".format),
    "Synthetic over real occurrences (%) by decile, rarest codes first, of every row. "
    f"{scores.caption(rows)}",
)

# %% [markdown]
# ## Codes that never come
#
# The most common codes among those that a model never produces, by their share of test patients.

# %% tags=["hide-input"]
lost = results.never_produced(runs, source, most=6)
Table(lost, "Never produced, the most common first", {"test patients (%)": "{:.2f}"})
