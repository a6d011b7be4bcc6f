"""What was measured of every version, from figures made up for the purpose."""

import json

from fer_model.evaluation.metrics import FERMetric
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from fer_model.report.readme import section
from fer_model.studies.faithfulness import RANDOM
from helpers.small_run import measured_run


def test_seven_classes_have_a_row_of_their_own_once_they_are_measured(tmp_path):
    history = json.dumps({"run": {}, "epochs": [{}], "best_epoch": 1, "earlier": []})
    measured_run(tmp_path / "v1").history_file.write_text(history)
    before = section("results", tmp_path)
    assert "seven" not in before
    assert "\nOf the five expectations V1 misses " in before
    model = FERModel(version="v1", seed=4, classes=7)
    metrics = FERMetric().compute(predictions=[[i == k for k in range(7)] for i in range(7)], references=range(7))
    model.save_pretrained(tmp_path / "v1-7" / "models")
    (tmp_path / "v1-7" / "history.json").write_text(history)
    (tmp_path / "v1-7" / "metrics.json").write_text(
        json.dumps(
            metrics | {"version": "v1", "model_sha256": model.digest(), "private_test": None, "expectations": None}
        )
    )
    row = section("results", tmp_path).splitlines()[3]
    assert section("results", tmp_path).replace(row + "\n", "") == before
    assert row.startswith("| V1, seven classes | 1,813,639 | 1 (1) | **100.0**")
    assert row.endswith("| 100 · 100 · 100 · 100 · 100 · 100 · neutral 100 |")


def test_the_share_of_empty_heat_maps_is_over_all_classes_and_the_worst_is_named(tmp_path):
    (tmp_path / "v2").mkdir()
    maps = {"recognised": {"happiness": 6, "fear": 4, "disgust": 0}, "empty": {"happiness": 1, "fear": 2, "disgust": 0}}
    metrics = {"version": "v2", "per_class": dict.fromkeys(EMOTIONS), "heat_maps": maps}
    (tmp_path / "v2" / "metrics.json").write_text(json.dumps(metrics))
    assert section("heat maps", tmp_path).endswith("empty: V2 30.0 % (most of all fear, 50.0 %).")
    metrics["heat_maps"]["empty"] = dict.fromkeys(maps["empty"], 0)
    (tmp_path / "v2" / "metrics.json").write_text(json.dumps(metrics))
    assert section("heat maps", tmp_path).endswith("empty: V2 none.")


def test_what_is_answered_and_what_is_withheld_stands_in_a_row_per_version(tmp_path):
    (tmp_path / "v1").mkdir()
    found = {"temperature": 0.8, "ece_before": 0.05, "ece_after": 0.02, "unsure_below": 0.5, "coverage": 0.85}
    found |= {"accuracy_when_sure": 0.78, "accuracy_when_unsure": None}
    metrics = {"version": "v1", "per_class": dict.fromkeys(EMOTIONS), "calibration": found}
    (tmp_path / "v1" / "metrics.json").write_text(json.dumps(metrics))
    assert section("unsure", tmp_path).endswith("| V1 | 0.80 | 0.050 | 0.020 | 50 % | 85 % | 78 % | – |")


def level(amount: float, accuracy: float, lost: float) -> dict:
    surely = [lost - 0.1, lost + 0.1]
    scores = {"accuracy": {"value": accuracy, "ci": [accuracy - 0.05, accuracy + 0.05]}, "ece": 0.2, "confidence": 0.7}
    return {"amount": amount, "lost": {"value": lost, "ci": surely}, **scores}


def test_robustness_shows_three_strengths_and_what_is_surely_lost_in_bold(tmp_path):
    changes = {
        "blur": [level(1, 0.7, 0), level(2, 0.7, 0), level(3, 0.65, 0.05), level(4, 0.5, 0.2), level(5, 0.4, 0.3)],
        "noise": [level(10 * n, 0.7 - n / 10, n / 10) for n in range(1, 6)],
    }
    part = {
        "command": "measure",
        "images": 150,
        "classes": 6,
        "unchanged": level(0, 0.7, 0),
        "changes": {name: {"unit": "of it", "levels": levels} for name, levels in changes.items()},
    }
    (tmp_path / "robustness.json").write_text(json.dumps({"v3-7": part | {"classes": 7}, "v3": part}))
    lines = section("robustness", tmp_path).splitlines()
    assert lines[0] == "| accuracy, % | V3 | V3, seven classes |"
    assert lines[2] == "| unchanged | 70 (65–75) | 70 (65–75) |"
    assert lines[3].startswith("| blur: 1 · 3 · 5 (of it) | 70 · 65 · **40** |")
    assert lines[4].startswith("| noise: 10 · 30 · 50 (of it) | 60 · **40** · **20** |")
    assert (
        "- V3, 150 test images: in the middle strengths most is lost to noise (30 points), blur (5 points)."
        in "".join(lines)
    )
    assert "at “noise: 50”: it says 70 % and is right in 20 %." in lines[-3]


def test_robustness_that_was_not_measured_names_its_command(tmp_path):
    assert "python -m fer_model robustness" in section("robustness", tmp_path)


def test_the_map_that_is_shown_is_bold_and_has_its_lead_where_it_was_measured(tmp_path):
    def figures(insertion: float, **more) -> dict:
        places = {"outside_the_face": insertion / 2, "in_corners": insertion / 10, "times_grad_cam": 1.5}
        alike = dict.fromkeys(("shifted", "flipped", "with_random_weights"), 0.5)
        area = {"insertion": {"value": insertion, "ci": [0, 1]}, "deletion": {"value": 0.25, "ci": [0, 1]}}
        return area | places | alike | more

    lead = {name: {"value": 0.1, "ci": [-0.01, 0.2]} for name in ("insertion", "deletion")}
    methods = {"a": figures(0.8, lead=lead), "b": figures(0.4), RANDOM: figures(1.0)}
    study = {"command": "the command", "test": {"images": 7, "methods": methods}}
    (tmp_path / "faithfulness.json").write_text(
        json.dumps({"v1": study | {"shown": "b"}, "v2": study | {"shown": "a"}})
    )
    text = section("heat map tests", tmp_path)
    assert "| a | 0.80 · 0.25 | **0.80 · 0.25** |\n| b | **0.40 · 0.25** | 0.40 · 0.25 |" in text
    assert "| insertion above the stronger baseline's (95 %) | – | 0.10 (-0.01 to 0.20) |" in text
    assert "| evidence outside the face (random map) | 20 % (50 %) | 40 % (50 %) |" in text
    assert "V1 7, V2 7" in text
