"""DuaLK predicts the diagnoses of the next visit by a disease graph and laboratory knowledge.

Read in this order: ``prepare`` (tables to visits), ``graph`` and ``embeddings`` (what is known of
diseases), ``protocols`` (the flaws, each by name), ``batches`` and ``models``, ``train``,
``evaluate`` and ``baselines``, ``interpret``, ``bridge`` (to the generator), ``experiments`` (runs
and their files), ``claims`` and ``results`` (what the book shows).
"""

import warnings

# libraries that draw progress bars warn of this in a notebook without widgets
warnings.filterwarnings("ignore", message="IProgress not found")
