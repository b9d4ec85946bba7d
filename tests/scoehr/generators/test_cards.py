"""Cards say what the files beside them hold."""

from scoehr import generators
from scoehr.files import write_json
from scoehr.generators import cards
from scoehr.metrics import evaluate, report
from tests.problems import patients


def test_a_saved_generator_has_both_cards_and_a_scored_one_its_scores(tmp_path):
    matrix = patients(300)
    model = generators.preset("thinning", width=16, epochs=1).fit(matrix, progress=False)
    folder = model.save(tmp_path / "model")
    card, data = ((folder / name).read_text() for name in ("MODEL_CARD.md", "DATA_CARD.md"))
    assert "Thinning diffusion: records are grown" in card
    assert "| width | 16 |" in card
    assert "Not scored." in card
    assert "| patients trained on | 300 |" in data
    assert "| codes | 60 |" in data
    results = evaluate(patients(100, seed=1), model.sample(100, progress=False), train=matrix)
    write_json(folder / "metrics.json", results)
    cards.write(folder, model.summary)
    scored = (folder / "MODEL_CARD.md").read_text()
    assert (
        f"| mean cell, synthetic over real | {results['fidelity']['density_ratio']:.4g} |" in scored
    )
    assert "100 patients a side" in scored
    write_json(folder / "metrics.json", results | report.summary(results))
    cards.write(folder, model.summary)
    reported = (folder / "MODEL_CARD.md").read_text()
    assert "Whom they expose was not measured" in reported
    assert "| Discriminator AUC | " in reported
    held_out, data = "| held out | 100 |", (folder / "DATA_CARD.md").read_text()
    assert held_out in data
    again = generators.load(folder).save(tmp_path / "again")
    assert held_out not in (again / "DATA_CARD.md").read_text()
