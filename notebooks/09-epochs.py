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
# # Epochs
#
# The report trained for 12 to 100 epochs and found that results converge around 50. Under its
# schedule the learning rate falls by a tenth every epoch, however many there are, so longer runs
# repeat the shorter ones and then hardly change. Under the paper's schedule the rate depends on the
# number of epochs.

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
from reproduction import figures
from reproduction.synthesis import ablations, results, scores
from reproduction.tables import Words, origin
from scoehr.files import check_seed

seed = check_seed(seed)
rows = results.rows(dataset, source, profile, seed)
origin(dataset, profile, seed)

# %% tags=["hide-input"]
Words(ablations.summary(rows, "epochs"))

# %% tags=["hide-input"]
long = {"the report's": "reported-epochs-100", "the paper's": "official-epochs-100"}
parts = [
    f"under {schedule} schedule by {ablations.frozen(runs, 50)} %, with "
    f"{ablations.left(runs, 50):.1%} of the learning rate's sum still to come"
    for schedule, runs in ablations.labelled(rows, long).items()
]
Words(
    "From epoch 50 to the last of 100 the validation loss of the score network changes "
    f"{' and '.join(parts)}."
    if parts
    else ""
)

# %% [markdown]
# (t4)=
# ## Each score by the number of epochs

# %% tags=["hide-input"]
figures.show(
    figures.against(
        ablations.lengths(rows, ("loss.score", *ablations.DRAWN)),
        xlabel="epochs",
        references=scores.points(ablations.whole(rows, "epochs"), ablations.DRAWN),
        reported=ablations.reported_lengths(),
    ),
    f"{ablations.best(rows, 'epochs', ablations.SEEING[0])} Each score by the number of epochs, "
    "under both schedules; lines join means, bars span the runs, diamonds are what the report "
    "gives for MIMIC-III.",
)

# %% tags=["hide-input"]
ablations.show_table(rows, "epochs")

# %% tags=["hide-input"]
ablations.show_table(rows, "official")

# %% tags=["hide-input"]
longer = {
    "report's, 12 to 50": ("reported-epochs-12", "reported"),
    "report's, 50 to 100": ("reported", "reported-epochs-100"),
    "paper's, 12 to 50": ("official-epochs-12", "official-epochs-50"),
    "paper's, 50 to 100": ("official-epochs-50", "official-epochs-100"),
    "paper's less report's, at 100": ("reported-epochs-100", "official-epochs-100"),
}
ablations.show_changes(rows, longer, "more epochs change under each schedule")

# %% tags=["hide-input"]
ablations.show_order(rows, "epochs")
