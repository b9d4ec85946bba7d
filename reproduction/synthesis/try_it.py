"""The recommended generator as a script that a page of the book draws patients with, in a browser.

``book/_static/thinning.js`` has the law of :mod:`scoehr.thinning` in JavaScript, and
``book/_static/try-it.js`` the page. The script that :func:`write` makes gives them one value,
``scoehrModel``: the run, its codes with their titles, and the tensors of its rate model. Their
bytes, compressed and as text, follow each other in the order of ``tensors``: numbers of 32 bits,
then matrices of weights as whole numbers of 16 bits, which times the scale of their row are the
weights, to a part in 65,000 of the largest. A page that is opened as a file may load a script,
but no data.

Models of data that are not known to be open are not written, by the rule of
:mod:`reproduction.publishing`; nor are numbers of one to ten patients, which become 1.
"""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from reproduction import leaks, publishing
from reproduction.synthesis import experiments, results
from reproduction.synthesis.experiments import Experiment, Run
from scoehr.data import datasets
from scoehr.files import replacing
from scoehr.models import RecordMLP
from scoehr.thinning import RateModel

#: The script, from the folder of the HTML book.
SCRIPT = Path("try-it") / "model.js"
#: What the page shows as 1 to 10 patients.
FEW = 1

Tensors = dict[str, np.ndarray]


def planned(dataset: str, source: str | None, profile: str, seed: int) -> Experiment:
    """The run of the recommended generator that a book shows."""
    name, *_ = experiments.recommended()
    return experiments.plan(dataset, source, profile, seed)[name]


def write(experiment: Experiment, path: Path) -> None:
    """Write the script of a run, which is made if it is not there; where none may be, why not."""
    run = experiments.run(experiment)
    reasons = refused(run)
    if reasons:
        found: dict[str, Any] = {"refused": reasons}
    else:
        found = model(run, results.pairs(run.generator, experiment.cohort().train))
    with replacing(path) as scratch:
        text = json.dumps(found, ensure_ascii=False)
        scratch.write_text(f"globalThis.scoehrModel = {text};\n", encoding="utf-8")


def refused(run: Run) -> list[str]:
    """Reasons why the model of a run does not go into a page."""
    found = [f"{part} {reason}" for part, reason in publishing.made_from(run.config, run.id)]
    if not run.weighted:
        found.append("its weights are not kept")
    elif not found and type(run.generator.network) is not RecordMLP:
        found.append("its network is none that the page computes")
    return found


def model(run: Run, together: sparse.csr_array) -> dict[str, Any]:
    """What the page is given of a run: facts, codes, and tensors as text."""
    generator = run.generator
    tensors = {**_pairs(together), **_rates(generator.rate)}
    parts = [values.astype(values.dtype.newbyteorder("<")).tobytes() for values in tensors.values()]
    return {
        "run": run.id,
        "title": run.experiment["title"],
        "about": datasets.DATASETS[run.experiment["dataset"]].description,
        "patients": generator.patients,
        "codes": generator.vocabulary.codes.tolist(),
        "titles": generator.vocabulary.titles.tolist(),
        "tensors": [[name, values.dtype.name, *values.shape] for name, values in tensors.items()],
        "bytes": base64.b64encode(gzip.compress(b"".join(parts), mtime=0)).decode("ascii"),
    }


def _rates(rate: RateModel) -> Tensors:
    """The tensors of a rate model, those of 32 bits first."""
    shares = (rate.log_length_weights - rate.log_factorials[rate.lengths.long()]).exp()
    plain = {
        "lengths": rate.lengths.float().numpy(),
        "length_pmf": shares.float().numpy(),
        "max_count": rate.max_count.numpy(),
        "count_pmf": rate.count_pmf.numpy(),
    }
    whole = {}
    for name, tensor in rate.network.state_dict(prefix="network.").items():
        values = tensor.T if name == "network.in_proj.weight" else tensor  # a row a code
        if values.ndim == 1:
            plain[name] = values.numpy()
        else:
            plain[f"{name}.scale"], whole[name] = _whole(values.numpy())
    return plain | whole


def _whole(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A scale a row, and whole numbers from -32,767 to 32,767 that are the matrix over it."""
    largest = np.abs(matrix).max(axis=1)
    scale = np.where(largest > 0, largest / np.iinfo(np.int16).max, 1).astype(np.float32)
    return scale, np.rint(matrix / scale[:, None]).astype(np.int16)


def _pairs(together: sparse.csr_array) -> Tensors:
    """Pairs of codes by their numbers, and how many patients have both; few are :data:`FEW`."""
    cells = together.tocoo()
    few = (cells.data > 0) & (cells.data < leaks.SMALLEST)
    return {
        "pairs.first": cells.row.astype(np.int32),
        "pairs.second": cells.col.astype(np.int32),
        "pairs.patients": np.where(few, FEW, cells.data).astype(np.int32),
    }
