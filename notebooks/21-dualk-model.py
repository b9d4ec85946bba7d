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
# # DuaLK: the model and its training
#
# Attention over the disease graph gives every code a vector. Attention over the codes of a visit
# gives one for the visit, and attention over visits one for the patient. Three decoders predict
# abnormal laboratory items from the patient's vector. Their hidden layers, the patient's vector and
# a laboratory layer go into the classifier. Training has four stages: the decoders together, each
# decoder alone, the laboratory layer, and fine-tuning on the codes of the last visit.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from IPython.display import display

from companions.dualk import results
from companions.dualk.claims import LEDGER
from reproduction import figures
from reproduction.tables import Table
from scoehr.files import check_seed

seed = check_seed(seed)
runs = results.runs(dataset, source, profile, seed)
results.origin(runs, dataset=dataset, profile=profile, seed=seed)

# %% [markdown]
# (dualk-parameters)=
# ## Layers
#
# At the study's size most parameters are the trained table of node features. The laboratory layer
# is trained in a stage of its own and then frozen. The better variant adds to the network's output
# the rate at which each code recurs, by whether the last visit, an earlier one or none had it. It
# starts from these rates and keeps learning.

# %% tags=["hide-input"]
Table(
    results.parameters(runs),
    "Parameters by part, of the runs and at the sizes that the study gives",
)

# %% [markdown]
# (dualk-graph-attention)=
# ## What the network cannot see
#
# Two things that the study's text names never reach its network: the weights of the edges, which
# are computed and not given to the graph layer, and the order of visits, which a weighted sum
# ignores. Here both are changed, to see whether the output changes.

# %% tags=["hide-input"]
names = [
    "DK-C.weights",
    "DK-C.aggregation",
    "DK-C.sequence",
    "DK-C.adaptive",
    "DK-C.items",
    "DK-C.macro",
]
Table(LEDGER.shown(runs, *names), "Statements of the text, tried on the code")

# %% [markdown]
# (dualk-stages)=
# ## Four stages
#
# Every stage logs what the study logs; losses, F1 and one recall are shown. The study's F1 is given
# the number of codes of each patient; its recall divides by k where a patient has more than k
# codes. The last column names the scored patients: the study scores pre-training on training
# patients, and fine-tuning on the test patients.

# %% tags=["hide-input"]
Table(
    results.log({name: runs[name] for name in ("reported", "corrected")}),
    "Last epoch of each stage, under either protocol",
)

# %% tags=["hide-input"]
figures.show(
    results.curves({name: runs[name] for name in ("reported", "corrected", "better")}),
    "Loss of fine-tuning, over training patients and over those who choose the epoch: test "
    "patients as reported, "
    "validation patients where corrected.",
)

# %% [markdown]
# ## What it attends to
#
# How attention is distributed over the last visits, and within each over its codes, averaged over
# feature channels. The patient is simulated, and so can be shown.

# %% tags=["hide-input"]
for title, table in results.attention(runs["corrected"]):
    display(
        Table(table, f"Attention, {title}: the two codes of most weight in each of the last visits")
    )

# %% [markdown]
# Integrated gradients {cite:p}`sundararajan2017` attribute the score of one code to the laboratory
# decoders, and by their last layers to laboratory items: the study's picture of laboratory
# knowledge. It shows what the network uses, not what causes a disease.

# %% tags=["hide-input"]
found = results.heart_failure_gradients(runs["corrected"])
if found is not None:
    figures.show(
        results.gradients(found),
        "Integrated gradients of heart failure over the decoders' embeddings, mean over test "
        "patients.",
    )

# %% [markdown]
# ## The study's log, line by line
#
# The study's run is of MIMIC-IV at full size, ours of the data and at the scale named above.
# Compare the courses, not the values.

# %% tags=["hide-input"]
Table(
    results.logs(runs["reported"]),
    "Lines of the study's logs, and the same epochs of our run as reported",
)
