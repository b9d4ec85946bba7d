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
# # Visits
#
# The models of the other pages make one row a patient. Longitudinal work, from readmission to
# disease progression, needs the admissions: how many, what each records, and what comes again. Here
# a generator makes records admission by admission. Given the record so far it draws whether another
# admission comes and how many codes it has, and then grows its codes one by one by thinning
# diffusion {cite:p}`chen2023`.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import display

from reproduction import estimates, figures
from reproduction.synthesis import admissions, results
from reproduction.tables import Table, Words
from scoehr.data import interchange
from scoehr.files import ROOT, check_seed
from scoehr.metrics.visits import VISIT_METRICS

seed = check_seed(seed)
runs = admissions.shown(dataset, source, profile, seed)
first = runs[0]
curves = first.metrics["curves"]
display(results.origin({}, dataset=dataset, profile=profile, seed=seed))
Words(admissions.summary(runs))

# %% [markdown]
# The calls that make such a run, on the first hundred patients and for one epoch:

# %%
from scoehr.data import patients
from scoehr.generators.visits import VisitConfig, VisitThinning

split = patients.load(dataset, source).patients.split()
few = VisitThinning(VisitConfig(width=16, epochs=1)).fit(
    split.train.take(range(100)), seed=seed, progress=False
)
few.sample(2, seed=seed, progress=False).to_records()[0]["visits"]

# %% [markdown]
# (v1)=
# ## Scores beside their reference points
#
# *Independent codes* keeps the number of admissions of each patient and draws every code of every
# admission on its own. *Shuffled admissions* deals whole real admissions to patients at random:
# right within an admission, wrong across. The gap is 0 where a score is that of fresh real patients
# and 1 where it is that of independent codes. R² over pairs of codes {cite:p}`theodorou2023` is
# ruled by a few frequent pairs, so that even independent codes score well; the differences of
# correlations, the recurrence and the discriminator see what is lost.

# %% tags=["hide-input"]
Table(admissions.scores(runs), estimates.caption([len(runs)]))

# %% tags=["hide-input"]
drawn = (
    "across_difference", "recurrence_mae", "new_share_mae", "discriminator_auc_returning",
)  # fmt: skip
points = {
    admissions.NAMES[point]: {
        VISIT_METRICS[name].title: first.metrics["reference"][point][name] for name in drawn
    }
    for point in ("real", "shuffled", "independent")
}
panels = {
    VISIT_METRICS[name].title: {"synthetic": admissions.estimate(runs, name)} for name in drawn
}
figures.show(
    figures.dots(panels, references=points),
    "Scores that need the order of admissions; lower is better, and a line is a reference point.",
)

# %% [markdown]
# (v2)=
# ## How often patients come, and with how many codes

# %% tags=["hide-input"]
figures.show(
    admissions.shares(curves),
    "Admissions per patient and codes per admission; the last point holds all that lies beyond it.",
)

# %% [markdown]
# (v3)=
# ## What comes again
#
# A chronic condition is recorded again and again, an acute one mostly once. For each code that
# could come again often enough: the share of later admissions that record it again, among patients
# who had it before.

# %% tags=["hide-input"]
again = pd.DataFrame(curves["recurrence"])
figures.show(
    figures.agreement(
        {"synthetic": (again["real"], again["synthetic"])},
        xlabel="comes again, real",
        ylabel="comes again, synthetic",
    ),
    f"Recurrence; a dot is a code, {len(again)} codes, first random seed.",
)

# %% tags=["hide-input"]
shown = again.sort_values("real", ascending=False).head(10).set_index("code")
names = shown["title"].where(shown["title"] != "", shown.index)
display(
    Table(
        shown.assign(diagnosis=names)[["diagnosis", "real", "synthetic"]],
        "The codes that come again most surely",
    )
)
new = pd.DataFrame(curves["new"]).set_index("visit").rename_axis("visit number")
Table(new.reset_index(), "Share of an admission's codes that the patient never had before")

# %% [markdown]
# (v4)=
# ## Taking them along
#
# The synthetic admissions are a long table, `patient_id, visit, code`; they become PyHealth's
# records, and summed over admissions the matrix of the other pages (of admissions with a code,
# since a synthetic admission has a code once).

# %%
synthetic = first.synthetic
matrix = synthetic.to_matrix()
path = ROOT / "runs" / "records" / f"{first.id}.jsonl"
written = interchange.write(synthetic.to_records(), path)

# %% tags=["hide-input"]
Words(
    f"Written: `runs/records/{path.name}`, {written:,} patients with {synthetic.starts[-1]:,} "
    "admissions; as a matrix "
    f"{matrix.shape[0]:,} × {matrix.shape[1]:,}, mean cell {matrix.mean_cell:.4f}."
)

# %% [markdown]
# The same for other data, from Python or the shell:
#
# ```python
# from scoehr.data import patients
# from scoehr.generators.visits import VisitThinning
#
# admissions, account = patients.load("table", "admissions.parquet")
# model = VisitThinning().fit(admissions)
# model.sample(1_000, seed=1).write("synthetic.parquet")
# ```

# %% [markdown]
# (v5)=
# ## Every run that is kept
#
# The finished runs on each data set, at the largest profile that has any.

# %% tags=["hide-input"]
for name, found in admissions.published().items():
    display(Table(admissions.scores(found), f"{name}. {estimates.caption([len(found)])}"))
