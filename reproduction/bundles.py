"""Bundles: the published runs of a study on one data set at one profile, in files that a person can read.

``saved_models/<study>-<data set>-<profile>/`` (study: synthesis, dualk, mortality_attack) holds

====================  ==============================================================================
``runs.csv``          a row a run: run, row, title, seed, verdict, kind, parameters, seconds, scores
``settings.json``     {run: its config.json without the digests of a saved model}
``results.json``      {run: {metrics: its metrics.json, costs: its costs.json}}; in ``metrics`` the
                      entry ``reference`` is a key of ``references.json``
``references.json``   {key: the scores of the reference points}, each once
``scores.parquet``    run, metric, value, low, high, gap: the numbers of ``results.json`` as a table
``histories.parquet`` run, then the columns of every history.csv
``frequencies.parquet``  run, code, then the columns of every frequency.csv
``draws.parquet``     run, then the columns of every draws.csv (bootstrap draws of figures)
``maps.parquet``      run, name, shape, values: arrays of figures, in the order of their cells
``environment.txt``   packages and their versions, a line each
``models/<row>-s<seed>/``  where weights are published, and only there: config.json with its seal,
                      history.csv, vocabulary.csv, pairs.parquet, MODEL_CARD.md, DATA_CARD.md,
                      ``*.safetensors`` and ``model-<member>/model.{json,safetensors}``
====================  ==============================================================================

A file that no run of the bundle needs is left out. Runs are sorted by id, so that the same runs give
the same bytes. A synthetic table is published as ``synthetic_data/<run>.parquet``. A run that is not
published is a folder ``runs/done/<run>`` with config.json, metrics.json, costs.json, history.csv,
frequency.csv, draws.csv, maps.safetensors, environment.txt, synthetic.parquet and weights.
"""
