"""The README's tables of trainings, from histories made up for the purpose."""

import json

import pytest

from fer_model.errors import FERError
from fer_model.labels import EMOTIONS
from fer_model.report import versions
from fer_model.runs import all_epochs, length


def history(version: str, accuracies: list[float], flops: float, seconds: float, earlier=()) -> dict:
    effort = {"seconds": seconds, "size": 40, "training_flops": flops}
    epochs = [{"validation_accuracy": value, **effort} for value in accuracies]
    run = {
        "version": version,
        "classes": 6,
        "init": None,
        "images": {"train": 1000, "validation": 100},
        "recipe": {"together": False},
        "validation_sha256": "of the same images",
        "mixed_precision": "no",
        "compile": True,
        "environment": {"device": "cpu", "processor": "Some CPU", "threads": 2},
    }
    return {"run": run, "epochs": epochs, "best_epoch": 1, "stopped": None, "earlier": list(earlier)}


def write(folder, **histories) -> None:
    for version, content in histories.items():
        (folder / version).mkdir()
        (folder / version / "history.json").write_text(json.dumps(content))


def test_every_run_on_the_way_to_a_version_has_a_row_of_its_own_and_all_together_their_flops(tmp_path):
    first = history("v3", [0.3, 0.4], 1e15, 60)
    first["run"] |= {"seed": 7, "environment": {"device": "Some GPU", "processor": "Some CPU", "threads": 2}}
    second = history("v3", [0.5], 2e15, 120, [first])
    assert length(second) == "2 + 1"
    assert [row["validation_accuracy"] for row in all_epochs(second)] == [0.3, 0.4, 0.5]
    write(tmp_path, v3=second)
    rows = [line for line in versions.effort_table(tmp_path).splitlines() if "10¹⁵" in line]
    assert rows == [
        "| V3 | 1 thousand | 2.00 · 10¹⁵ | 2 | float32, compiled | Some CPU, 2 threads |",
        "| on the way to V3: V3, 2 epochs | 2 thousand | 2.00 · 10¹⁵ | 2 | float32, compiled | Some GPU |",
        "| V3 and all 1 on its way | | 4.00 · 10¹⁵ | | | |",
    ]


def test_what_a_version_learned_from_counts_once_and_has_no_second_row_where_it_is_a_version(tmp_path):
    v2, before, teacher, v3 = (history(v, [0.5, 0.6], 1e15, 60) for v in ("v2", "v2", "v3", "v3"))
    for seed, run in enumerate((v2, before, teacher, v3)):
        run["run"]["seed"] = seed
    teacher["run"]["images"] = {"train": 2000}
    v3["taught_by"] = [[before, teacher], [v2], []]  # of the last teacher nothing is known
    v3["earlier"] = [teacher | {"earlier": [before]}]
    write(tmp_path, v2=v2, v3=v3)
    rows = [line for line in versions.effort_table(tmp_path).splitlines() if "10¹⁵" in line]
    assert [row.split(" thousand")[0] for row in rows] == [
        "| V2 | 2",
        "| V3 | 2",
        "| on the way to V3: V3, 2 epochs | 4",
        "| on the way to V3: V2, 2 epochs | 2",
        "| V3 and all 3 on its way | | 8.00 · 10¹⁵ | | | |",
    ]


def test_seven_classes_have_a_row_too(tmp_path):
    seven = history("v3", [0.5], 1e15, 60)
    seven["run"]["classes"] = 7
    write(tmp_path, **{"v3-7": seven})
    assert "| V3, seven classes | 1 thousand |" in versions.effort_table(tmp_path)


def test_v3_has_overtaken_v2_in_the_first_epoch_that_is_as_good_as_v2s_best(tmp_path):
    v2 = history("v2", [0.5, 0.6, 0.55], 10e15, 100)  # V2 needed 20e15 FLOPs
    v3 = history("v3", [0.61, 0.5], 2e15, 5, [history("v3", [0.2, 0.4], 1e15, 10)])  # and V3 4e15
    write(tmp_path, v2=v2, v3=v3)
    text = versions.effort_table(tmp_path)
    assert "best validation accuracy, 60.0 %, in its epoch 3, with 20 % of the FLOPs V2 had needed." in text
    rows = [{"version": f"v{n}", "size": 40, "seconds_per_image": s} for n, s in ((2, 0.1), (3, 0.02))]
    (tmp_path / "training_speed.json").write_text(json.dumps({"rows": rows, "compile": False}))
    # three epochs of 1,000 images at 0.02 s, against two at 0.1 s: by their pace side by side, not by the histories
    assert "20 % of the FLOPs and 30 % of the time V2 had needed" in versions.effort_table(tmp_path)
    (tmp_path / "training_speed.json").write_text(json.dumps({"rows": rows[:1], "compile": False}))
    with pytest.raises(FERError, match=r"v3 at 40 pixels: run scripts/training_speed.py anew"):
        versions.effort_table(tmp_path)


def test_a_short_training_of_v3_is_compared_with_v2_too(tmp_path):
    v2, v3 = history("v2", [0.5, 0.6], 10e15, 100), history("v3", [0.5, 0.6, 0.7], 10e15, 5)
    short = history("v3", [0.5, 0.62], 1e15, 5)
    write(tmp_path, v2=v2, v3=v3, **{"v3-quick": short})
    text = versions.effort_table(tmp_path)
    assert "A training of V3 over 2 epochs (`results/v3-quick/history.json`) reached" in text
    assert "60.0 %, in its epoch 2, with 10 % of the FLOPs" in text
    assert "validated on the same images" in text
    short["run"]["validation_sha256"] = "of others"
    (tmp_path / "v3-quick" / "history.json").write_text(json.dumps(short))
    assert "validated on different images" in versions.effort_table(tmp_path)
    assert "| V3 | 3 thousand |" in text, "the table is of the run whose weights are published"


def test_no_time_to_accuracy_is_claimed_of_a_v3_that_began_at_v2s_weights(tmp_path):
    v2 = history("v2", [0.6], 1e15, 1)
    write(tmp_path, v2=v2, v3=history("v3", [0.7], 1e15, 1, [v2]))
    assert "V3 began at another version's weights" in versions.effort_table(tmp_path)


def test_it_is_said_that_v3_has_not_overtaken_v2(tmp_path):
    write(tmp_path, v2=history("v2", [0.6], 4e15, 1), v3=history("v3", [0.5, 0.4], 1e15, 1))
    found = versions.effort_table(tmp_path)
    assert "V3 came to a validation accuracy of 50.0 %, not to V2's best, 60.0 %, with 50 % of the FLOPs" in found


def test_no_time_to_accuracy_is_claimed_of_a_v3_that_had_a_teacher(tmp_path):
    taught = history("v3", [0.7], 1e15, 1)
    taught["run"]["teachers"] = {"share": 0.5, "models": [{"model": "somewhere", "sha256": ""}]}
    write(tmp_path, v2=history("v2", [0.6], 1e15, 1), v3=taught)
    assert "V3 learned from a network trained before" in versions.effort_table(tmp_path)
    began_at_it = history("v3", [0.7], 1e15, 1, [taught])
    (tmp_path / "v3" / "history.json").write_text(json.dumps(began_at_it))
    assert "V3 learned from a network trained before" in versions.effort_table(tmp_path)


def test_no_time_to_accuracy_is_claimed_of_a_v3_that_began_at_weights_of_unknown_origin(tmp_path):
    found = history("v3", [0.7], 1e15, 1)
    found["run"]["init"] = {"model": "somewhere", "sha256": ""}
    write(tmp_path, v2=history("v2", [0.6], 1e15, 1), v3=found)
    assert "V3 began at weights of unknown origin" in versions.effort_table(tmp_path)


def test_the_share_of_empty_heat_maps_is_over_all_classes_and_the_worst_is_named(tmp_path):
    (tmp_path / "v2").mkdir()
    maps = {"recognised": {"happiness": 6, "fear": 4, "disgust": 0}, "empty": {"happiness": 1, "fear": 2, "disgust": 0}}
    metrics = {"version": "v2", "per_class": dict.fromkeys(EMOTIONS), "heat_maps": maps}
    (tmp_path / "v2" / "metrics.json").write_text(json.dumps(metrics))
    assert versions.heat_maps_sentence(tmp_path).endswith("recognised: V2 30.0 % (most of all fear, 50.0 %).")
    metrics["heat_maps"]["empty"] = dict.fromkeys(maps["empty"], 0)
    (tmp_path / "v2" / "metrics.json").write_text(json.dumps(metrics))
    assert versions.heat_maps_sentence(tmp_path).endswith("recognised: V2 none.")


def test_what_is_answered_and_what_is_withheld_stands_in_a_row_per_version(tmp_path):
    (tmp_path / "v1").mkdir()
    found = {"temperature": 0.8, "ece_before": 0.05, "ece_after": 0.02, "unsure_below": 0.5, "coverage": 0.85}
    found |= {"accuracy_when_sure": 0.78, "accuracy_when_unsure": None}
    metrics = {"version": "v1", "per_class": dict.fromkeys(EMOTIONS), "calibration": found}
    (tmp_path / "v1" / "metrics.json").write_text(json.dumps(metrics))
    assert versions.unsure_table(tmp_path).endswith("| V1 | 0.80 | 0.050 | 0.020 | 50 % | 85 % | 78 % | – |")


def test_accuracy_lost_without_leaked_images_and_copies_by_part_stand_with_the_data(tmp_path):
    counts = {"pairs": 10, "mirrored": 1, "different_label": 2, "test_images_with_one_in_train": 4}
    counts |= {"test_images_with_one_in_train_six_classes": 3}
    counts["pairs_between"] = {"Training, Training": 2, "Training, PrivateTest": 7, "PublicTest, PrivateTest": 1}
    data = {"exact": {**counts, "groups": 5, "extra_copies": 6}, "near": {"0.95": counts}, "twin_threshold": 0.95}
    data |= {"images": {"Training": 50, "PublicTest": 30}, "blank": {"Training": 2, "PublicTest": 1}}
    (tmp_path / "data.json").write_text(json.dumps(data))
    (tmp_path / "v2").mkdir()
    metrics = {
        "version": "v2",
        "per_class": dict.fromkeys(EMOTIONS),
        "accuracy": 0.7,
        "without_twins": {"accuracy": 0.68},
    }
    (tmp_path / "v2" / "metrics.json").write_text(json.dumps(metrics))
    text = versions.data_table(tmp_path)
    assert "| correlation ≥ 0.95 | 10 | 1 | 2 | 0 · 7 | 0 · 1 · 0 | 20.0 % | 4 | 3 |" in text
    assert (
        "5 pictures occur more than once, equal in every pixel: without these copies the 80 images would be 6" in text
    )
    assert "3 more are of a single grey" in text
    assert text.endswith("Without the 3 test images that have a copy in Training (at 0.95), V2 loses 2.0 points.")
