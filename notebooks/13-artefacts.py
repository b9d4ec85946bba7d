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
# # Artefacts
#
# A run leaves a folder that anybody can open. It holds settings, losses, scores, costs, package
# versions, and weights in a format of numbers alone, so that loading them runs no code. The
# synthetic patients lie beside it as one Parquet file.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import display

from reproduction.synthesis import results
from reproduction.tables import Table, Words
from scoehr.files import check_seed

seed = check_seed(seed)
runs = results.runs(dataset, source, profile, seed)
display(results.origin(runs, dataset=dataset, profile=profile, seed=seed))
run = runs["thinning"]
sizes = {path.name: path.stat().st_size / 2**10 for path in sorted(run.stored.model.glob("*.*"))}
Table(
    pd.DataFrame({"KiB": sizes}),
    f"Files of the model {run.experiment['name']}, random seed {seed}",
    digits=4,
)

# %% [markdown]
# A run that was made here has a folder of its own, `runs/done/<run>`. Published runs lie in
# `saved_models`, one bundle a study, data set and profile; [Find a run](28-runs.ipynb) lists them
# all.
#
# | file | holds |
# |---|---|
# | `runs.csv` | a row a run: what it is, its costs, its main scores |
# | `settings.json` | settings of each run, account of its data, verdict |
# | `results.json`, `references.json` | scores and costs; the reference points, each once |
# | `scores.parquet` | the scores as a table: run, metric, value, low, high, gap |
# | `histories.parquet` | stage, epoch, training and validation loss, learning rate, seconds |
# | `frequencies.parquet` | how often real and synthetic patients have each code |
# | `environment.txt` | Python and package versions |
# | `models/<row>-s<seed>/` | the models: settings, codes, weights (`*.safetensors`), cards |
#
# ## A trained model
#
# A folder that holds a model is loaded in one line. Weights other than those that `config.json`
# names are refused. In the shell the same is `scoehr sample FOLDER -n 5 --out patients.parquet`.

# %%
from scoehr.generators import load

model = load(run.stored.model)
patients = model.sample(5, seed=1, progress=False)
patients.to_long().rename(columns={"patient_id": "patient"}).head(8)

# %% [markdown]
# ## Synthetic patients without this project
#
# Any tool that reads Parquet reads them: one row a patient and code.

# %%
table = pd.read_parquet(run.stored.synthetic)
table.rename(columns={"patient_id": "patient"}).head()

# %% tags=["hide-input"]
Words(
    f"{len(table):,} rows, {table['patient_id'].nunique():,} patients with at least one code, "
    f"{table['code'].nunique():,} codes."
)

# %% [markdown]
# ## To other tools
#
# The matrix converts to and from long tables, SciPy arrays and PyHealth records.

# %%
[record["visits"] for record in run.synthetic.take([0, 1]).to_records()]

# %% [markdown]
# ## What a run records
#
# All settings of its experiment, and the versions that it was made with.

# %%
facts = pd.Series(run.experiment).astype(str).to_frame("value")
plain = ~facts["value"].str.startswith(("[", "{"))
Table(facts[plain], f"The experiment of {run.id}")

# %%
print(run.stored.environment)
