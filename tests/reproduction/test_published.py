"""The published scores stay the same numbers, however the files that hold them are changed."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from reproduction import bundles
from scoehr.files import CHECKOUT

DIGESTS = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def digests(store):
    """Of the scores of a run and of its tables, cell by cell."""
    found = {"metrics": bundles.digest(store.metrics)}
    for name in bundles.TABLES:
        table = store.table(name)
        if table is not None:
            text = table[sorted(table)].to_csv(index=False, float_format="%.6g")
            text = re.sub(r"\.0\b", "", text)  # whole numbers, in whatever type
            found[name] = hashlib.sha256(text.encode()).hexdigest()
    for name, values in sorted(store.maps.items()):
        found[name] = hashlib.sha256(values.astype(np.float32).tobytes()).hexdigest()
    return {name: value[:16] for name, value in found.items()}


@pytest.mark.parametrize("bundle", sorted(DIGESTS))
def test_the_published_numbers_are_those_that_were_published_first(bundle):
    published = bundles.bundle(CHECKOUT / "saved_models" / bundle)
    found = {}
    for store in published:
        facts = store.config["experiment"]
        found[f"{facts['name']}-s{facts['seed']}"] = digests(store)
    assert DIGESTS[bundle].items() <= found.items()
