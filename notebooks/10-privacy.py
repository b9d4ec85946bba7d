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
# # Privacy
#
# Synthetic patients should not reveal who was in the training set. The report takes pairs of a test
# patient and a synthetic patient, and calls the share whose cosine is above one half the records at
# risk. A privacy score must change when privacy is lost. So this page first tests the scores: which
# of them notice that the training set itself is released?

# %% tags=["parameters"]
dataset = "simulated"
source = None
profile = "quick"
seed = 0

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import display

from reproduction import figures
from reproduction.synthesis import ablations, contest, reported, results, scores, validity
from reproduction.tables import Table, Words, benchmark, folded, origin
from scoehr.files import check_seed
from scoehr.metrics import METRICS
from scoehr.metrics.attacks import ATTACKS, RATES

seed = check_seed(seed)
planned = results.rows(dataset, source, profile, seed)
every = results.main(planned)
rows = scores.ended(every)
kinds = results.by_kind(rows)
keys = ["reported.cosine_share", *(key for key in METRICS if key.startswith("privacy."))]
origin(dataset, profile, seed)

# %% tags=["hide-input"]
Words(scores.divergences(every))

# %% [markdown]
# ## Which scores see a copied training set
#
# *Copied* are training patients released unchanged: nothing is less private. *Fresh* are real
# patients outside the training set: nothing is more so. Scores of held-out patients alone, which
# are the baselines of others, are left out. The cosine share of one set of pairs rests on a handful
# of pairs, so it is drawn many times here; its row holds the means.

# %% tags=["hide-input"]
about = [key for key in keys if not key.endswith("_holdout")]
size = next(iter(rows.values()))[0].experiment["evaluated"]
draws = {
    kind: results.cosine_draws(results.cohort(group, source), size, seed)
    for kind, group in kinds.items()
}
seen = {
    kind: results.copies_seen(group, about, {"reported.cosine_share": draws[kind]})
    for kind, group in kinds.items()
}
blind = {kind: list(table.index[table["sees the copies"] == "no"]) for kind, table in seen.items()}
parts = [
    f"On {results.KINDS[kind]} {len(table) - len(blind[kind])} of {len(table)} scores see the "
    "copies" + (f"; blind: {', '.join(blind[kind])}." if blind[kind] else ".")
    for kind, table in seen.items()
]
spread = [
    f"{min(found[point]):.2%} to {max(found[point]):.2%} in {len(found[point])} draws of {words} "
    f"({results.KINDS[kind]})"
    for kind, found in draws.items()
    for point, words in {"real": "fresh patients", "copy": "copied ones"}.items()
]
Words(f"{' '.join(parts)} The reported cosine share is {', '.join(spread)}.")

# %% tags=["hide-input"]
for kind, table in seen.items():
    caption = f"Fresh real patients and copied training patients, {results.KINDS[kind]}"
    display(Table(table, caption))

# %% [markdown]
# (pr)=
# ## The models
#
# Scores of the main models beside the reference points. What lies above the score of fresh real
# patients (below it, where higher is better) is what a model reveals.

# %% tags=["hide-input"]
key = "privacy.membership_auc"
excess = {
    name: scores.estimate(
        runs,
        lambda run: (
            None
            if (value := scores.value(run, key)) is None
            else value - scores.point({"": [run]}, "real", key)
        ),
    )
    for name, runs in rows.items()
}
finding = (
    "Membership AUC less that of fresh real patients: "
    + "; ".join(f"{name} {gap}" for name, gap in excess.items())
    + "."
)
Words(f"{finding} Near 0 the nearest synthetic patient does not tell members from others.")

# %% tags=["hide-input"]
drawn = (
    "privacy.membership_auc", "privacy.nearer_to_train", "privacy.near_duplicate_rate",
    "privacy.presence_sensitivity", "privacy.attribute_f1",
)  # fmt: skip
group = kinds["count"]
figures.show(
    figures.dots(scores.panels(group, drawn), scores.points(group, drawn, ("real", "copy"))),
    f"{finding} Privacy of the models on counts, between fresh real patients and training patients "
    "copied; dots are runs.",
)

# %% [markdown]
# Below are all scores, as the studies report them. Those of distances (DCR, NNDR and the
# adversarial accuracies) are no evidence of privacy {cite:p}`pilgram2025,yao2025`: a table can keep
# its distance and still expose whom it was made from. Attacks decide.

# %% tags=["hide-input"]
for kind, group in kinds.items():
    caption = f"Privacy on {results.KINDS[kind]}. {scores.caption(group)}"
    sheet = scores.table(group, keys, references=("real", "copy"))
    display(folded(f"All {len(sheet)} scores on {results.KINDS[kind]}", Table(sheet, caption)))

# %% tags=["hide-input"]
said = reported.report()["cosine share (%)"]
Words(
    f"Reported: the paper {ablations.of_paper()['reported.cosine_share']} of records at risk, the "
    "report "
    f"{said.min()} to {said.max()} % by its cosine share, which for two random real patients here "
    "is "
    + " and ".join(
        f"{sum(found['real']) / len(found['real']):.2%} ({results.KINDS[kind]})"
        for kind, found in draws.items()
    )
    + "."
)

# %% [markdown]
# (stopping)=
# ## The model's own losses
#
# Whoever has a model's weights can attack its losses. The attacker trains a similar model on other
# patients of the same hospital and looks for patients whom the attacked model knows better. Three
# things expose a patient. A network that is trained too long memorises its patients; so validation
# patients {ref}`choose the epoch <chosen-epoch>`. A count of a code that only one training patient
# has is possible in one model and impossible in the other; so the counts of all codes are
# {ref}`pooled <chosen-epoch>` into those of each. And what a network knows of a rare code it knows
# of few patients; so it learns less of it. *Before* is the model of this book named thinning; *now*
# is what `scoehr fit` makes; under *all codes alike* it learns as much of rare codes as of others.
# All face the four attacks that read losses (`python -m benchmarks.overfitting`).

# %% tags=["hide-input"]
study = benchmark("overfitting")
titles = {key.removesuffix("_auc"): ATTACKS[key].title for key in ATTACKS if key.endswith("_auc")}
titles = {name: titles[name].removesuffix(", AUC") for name in study["attacked"]}


for place, settings in study["rows"].items():
    caption = (
        f"{place}: AUC of each attack, and members found (%) where 10, 1 and .1 % of others are "
        f"taken for one; chance finds as many. {study['judged']:,} members and as many others at "
        "most."
    )
    display(
        Table(
            pd.DataFrame({name: validity.attacked(row, titles) for name, row in settings.items()}),
            caption,
        )
    )

# %% tags=["hide-input"]
worst = {
    (place, name): [max(row["attacks"][f"{each}_{rate}"] for each in titles) for rate in RATES]
    for place, settings in study["rows"].items()
    for name, row in settings.items()
}
Words(
    " ".join(
        f"{place}: where one other in a hundred is taken for a member, the worst attack finds "
        + ", ".join(f"{worst[place, name][1]:.1%} ({name})" for name in settings)
        + " of the members; where one in a thousand is, "
        + ", ".join(f"{worst[place, name][2]:.2%} ({name})" for name in settings)
        + "."
        for place, settings in study["rows"].items()
    )
)

# %% [markdown]
# (promise)=
# ## What a guarantee costs
#
# Privacy scores find only what they look for. Training under {ref}`differential privacy <private>`
# bounds what anybody can find, at a price: the table shows thinning diffusion with and without such
# a bound.

# %% tags=["hide-input"]
Words(results.missing(planned, ["private"]))

# %% tags=["hide-input"]
if bound := results.grouped(planned, "private"):
    beside = {"thinning": planned["thinning"], **bound} if "thinning" in planned else bound
    config = next(iter(bound.values()))[0].config
    display(
        Table(
            pd.concat([contest.contest(beside).T, scores.table(beside, drawn[1:])]).fillna("–"),
            f"What a bound of ε = {config['privacy']['epsilon']:.3g} at δ = "
            f"{config['privacy']['delta']:g} costs. "
            f"{scores.caption(beside)}",
        )
    )

# %% [markdown]
# A tighter bound costs more. A classifier that tells the private model's patients from real ones
# measures how much, at the same width (`python -m benchmarks.private`). *Codes alone* is the model
# before its network is trained: the noised distributions are all that it knows.

# %% tags=["hide-input"]
tight = benchmark("private")
changes = {
    name: ", ".join(f"{key} {value:g}" for key, value in how.items()) or "–"
    for name, how in tight["settings"].items()
}
trained = [name for name, how in tight["settings"].items() if "epochs" not in how]
bound = f"ε = {tight['shared']['epsilon']:g}"
sheet = Table(
    pd.DataFrame({**tight["rows"], "settings changed": changes}),
    f"Discriminator AUC at {bound}, {tight['patients']:,} training patients, "
    f"{tight['compared']:,} made and as many held out, one draw of the noise; .5 is a coin.",
    formats=dict.fromkeys(tight["rows"], "{:.3f}"),
)
display(
    folded(f"{len(changes)} settings at {bound}", sheet),
    Words(
        f"The best settings tried at {bound} give "
        + " and ".join(
            f"{min(row[name] for name in trained):.2f} ({place})"
            for place, row in tight["rows"].items()
        )
        + ": such patients are told from real ones."
    ),
)

# %% [markdown]
# (audit)=
# ## Is the guarantee kept?
#
# A fault in the code can break a guarantee, and no score of a table shows it. So the private
# generator is audited by canaries {cite:p}`steinke2023,mahloujifar2025`: patients with a code that
# nobody else has are put in or left out, each by the toss of a coin; one model is fitted; and
# attacks on all that is released (the noised gradients, the distributions, the vocabulary, the
# history, and models fitted again under the same seed) guess who was in. How often the surest
# guesses are right bounds the privacy loss from below; the $\varepsilon$ of the accountant bounds
# it from above. Both are expressed as the $\mu$ of Gaussian differential privacy
# {cite:p}`dong2022`, under which telling the two apart is as hard as telling $\mathcal{N}(0, 1)$
# from $\mathcal{N}(\mu, 1)$. The settings are the worst that the guarantee allows. Six faults are
# planted for the audit to find (`python -m benchmarks.audit`).

# %% tags=["hide-input"]
made = benchmark("audit")
audited = {
    **{f"sound: {name}": row for name, row in made["honest"].items()},
    **{f"fault: {row['fault'].rstrip('.')}": row for row in made["faults"].values()},
}
sheet = {
    name: {
        "guaranteed ε": f"{row['epsilon']:.2g}",
        "guaranteed μ": f"{row['promised_mu']:.2f}",
        "found μ, at least": f"{row['found_mu']:.2f}",
        "by": max(row["attacks"], key=row["attacks"].get) if row["found_mu"] else "–",
        "canaries (models)": f"{row['canaries']:,} ({row['runs']})",
    }
    for name, row in audited.items()
}
Table(
    pd.DataFrame.from_dict(sheet, orient="index"),
    f"What the private generator guarantees and what attacks find, at {made['confidence']:.0%} "
    "confidence. A guarantee is broken where more is found than it allows.",
)

# %% tags=["hide-input"]
whole = next(iter(made["honest"].values()))
broken = sum(row["broken"] for row in made["honest"].values())
caught = sum(row["broken"] for row in made["faults"].values())
Words(
    f"Attacks on the sound generator find up to {whole['found_mu'] / whole['promised_mu']:.0%} of "
    f"what is allowed and break {broken} of {len(made['honest'])} guarantees; {caught} of "
    f"{len(made['faults'])} planted faults are caught."
)
