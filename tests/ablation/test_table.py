"""What a study found stands in the README: a row a training, and how much may be chance."""

import json
from pathlib import Path

from fer_model.ablation.studies import STUDIES, output_file
from fer_model.evaluation import plots
from fer_model.report.readme import section


def result(rows: list[dict]) -> dict:
    return {"command": "python -m something", "question": "?", "epochs": 2, "limit": 100, "rows": rows}


def row(name: str, accuracy: float, recalls: list[float]) -> dict:
    return {
        "name": name,
        "validation_accuracy": accuracy,
        "validation_macro_recall": max(recalls),
        "validation_accuracy_by_epoch": [accuracy / 2, accuracy],
        "macro_recall_by_epoch": recalls,
        "seconds": 90.0,
        "training_flops": 2.5e14,
        "images": {"train": 80, "validation": 20},
    }


def write(repository: Path, name: str, content: dict) -> None:
    file = repository / output_file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_a_study_that_was_not_made_is_told_with_its_command(tmp_path):
    for name in STUDIES:
        assert f"python -m fer_model ablation {name}" in section(f"study {name}", tmp_path / "results")


def test_every_training_has_a_row_and_epochs_with_one_answer_are_counted(tmp_path):
    rows = [row("learning rate 3e-4, seed 0", 0.3, [1 / 6, 0.168]), row("learning rate 1e-2, seed 0", 0.5, [0.2, 0.4])]
    write(tmp_path, "collapse", result(rows))
    text = section("study collapse", tmp_path / "results")
    assert "| learning rate 3e-4, seed 0 | 30.0 | 16.8 | 2 of 2 | 0.25 · 10¹⁵ | 2 |" in text
    assert "| learning rate 1e-2, seed 0 | 50.0 | 40.0 | 0 of 2 |" in text
    assert "20 validation images, in the best of 2 epochs over 80 training images" in text
    # 200 * sqrt(2 * 0.5 * 0.5 / 20)
    assert "Differences below 31.6 points may come from the choice of validation images alone. How much" in text
    assert f"{len(STUDIES['collapse'].rows) - 2} more rows are still to be trained" in text
    write(tmp_path, "collapse", result([row(r.name, 0.3, [0.2]) for r in STUDIES["collapse"].rows]))
    assert "still to be trained" not in section("study collapse", tmp_path / "results")


def test_a_study_judged_by_ten_crops_shows_them(tmp_path):
    judged = {"majority_agreement": 0.5, "cross_entropy": 1.25, "ten_crop_accuracy": 0.375}
    judged["ten_crop_majority_agreement"] = 0.625
    write(tmp_path, "beside-votes", result([row("two epochs, seed 1", 0.3, [0.2, 0.4]) | judged]))
    text = section("study beside-votes", tmp_path / "results")
    assert "| accuracy, ten crops | the crowd's majority, ten crops |" in text
    assert "| two epochs, seed 1 | 30.0 | 40.0 | 50.0 | 1.25 | 37.5 | 62.5 |" in text


def test_what_seeds_alone_do_is_told_by_rows_that_differ_in_nothing_else(tmp_path):
    accuracies = {
        "3e-4, seed 0": 0.31,
        "3e-4, seed 2": 0.36,
        "1e-3, seed 0": 0.9,
        "1e-2, seed 0": 0.1,
        "1e-2, seed 1": 0.12,
    }
    rows = [row(f"learning rate {name}", value, [0.2]) for name, value in accuracies.items()]
    write(tmp_path, "collapse", result(rows))
    text = section("study collapse", tmp_path / "results")
    assert "their seeds alone, which also choose the validation images, are up to 5.0 points apart." in text


def test_trainings_that_votes_judged_are_told_with_them_and_share_their_validation_images(tmp_path):
    rows = [
        row(f"votes 50 %, seed {seed}", 0.6, [0.5]) | {"majority_agreement": 0.8 + seed / 100, "cross_entropy": 0.9}
        for seed in (0, 1)
    ]
    write(tmp_path, "votes", result(rows) | {"epochs": 1})
    text = section("study votes", tmp_path / "results")
    assert "| votes 50 %, seed 1 | 60.0 | 50.0 | 81.0 | 0.90 |" in text
    assert "20 validation images, after one epoch over 80 training images.\n" in text
    assert "alone, which is the same for all. Trainings that differ in their seeds alone are up to 0.0 points" in text


def test_the_accelerators_of_a_study_are_named_and_processors_are_not(tmp_path):
    rows = [row(name, 0.3, [0.2]) | {"device": "cpu"} for name in ("V1 as designed", "V1, seed 1")]
    write(tmp_path, "v1-to-v2", result(rows))
    assert "Trained on" not in section("study v1-to-v2", tmp_path / "results")
    rows[1] |= {"device": "Some GPU", "images": {"train": 81, "validation": 19}}
    write(tmp_path, "v1-to-v2", result(rows))
    text = section("study v1-to-v2", tmp_path / "results")
    assert " Trained on Some GPU and a CPU." in text
    assert "Percent of 19 to 20 validation images, in the best of 2 epochs over 80 to 81 training images" in text


def test_a_study_is_drawn_however_many_rows_it_has(tmp_path):
    for count in (1, 14):
        plots.study(result([row(f"row {i}", 0.3, [0.2, 0.3]) for i in range(count)]), tmp_path / f"{count}.png")
        assert (tmp_path / f"{count}.png").stat().st_size > 5000
