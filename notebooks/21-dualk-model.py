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
# Attention over the disease graph gives every code a vector, attention over the codes of a visit
# gives the visit one, and attention over visits the patient. Three decoders predict abnormal
# laboratory items from the patient; their inner layers, the patient and a laboratory layer go into
# the classifier. Training has four stages: decoders together, each decoder alone, the laboratory
# layer, and fine-tuning on the codes of the last visit.

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
# At the study's size most parameters are the table of node features, which is trained. The
# laboratory layer is trained in a stage of its own and frozen. The better variant adds to what the
# network says the rate at which every code comes back, by whether the last visit, an earlier one or
# none had it; it starts from these rates and learns on.

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
# are computed and not given to the graph layer, and the order of visits, since a weighted sum does
# not know it. Both are tried here, by changing them and looking whether the answer changes.

# %% tags=["hide-input"]
names = [
    "DK-C.weights",
    "DK-C.aggregation",
    "DK-C.sequence",
    "DK-C.adaptive",
    "DK-C.items",
    "DK-C.macro",
]
Table(LEDGER.shown(runs, "DK-C").loc[names], "Statements of the text, tried on the code")

# %% [markdown]
# (dualk-stages)=
# ## Four stages
#
# Every stage logs what the study logs, of which losses, F1 and one recall are shown. Its F1 is told
# how many codes each patient has; its recall divides by k where a patient has more than k codes.
# The scored patients are named in the last column: the study scores pre-training on patients of the
# training, and fine-tuning on the test patients.

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
# ## What it looks at
#
# For a simulated patient, who can be shown: how the attention is shared among the last visits, and
# within each among its codes, averaged over feature channels.

# %% tags=["hide-input"]
for title, table in results.attention(runs["corrected"]):
    display(
        Table(table, f"Attention, {title}: the two codes of most weight in each of the last visits")
    )

# %% [markdown]
# Integrated gradients {cite:p}`sundararajan2017` carry the score of one code back to the laboratory
# decoders, and by their last layers to laboratory items: the study's picture of laboratory
# knowledge. It tells what the network uses, not what causes a disease.

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
# Its run is of MIMIC-IV at full size, ours of the data and at the scale named above: the two can
# be compared in kind, not in value.

# %% tags=["hide-input"]
Table(
    results.logs(runs["reported"]),
    "Lines of the study's logs, and the same epochs of our run as reported",
)
