"""What the trainings took, from histories made up for the purpose."""

import json

from fer_model.report.readme import section
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
    rows = [line for line in section("effort", tmp_path).splitlines() if "10¹⁵" in line]
    assert rows == [
        "| V3 | 1 thousand | 2.00 · 10¹⁵ | 2 | float32, compiled | Some CPU, 2 threads |",
        "| on the way to V3: V3, 2 epochs | 2 thousand | 2.00 · 10¹⁵ | 2 | float32, compiled | Some GPU |",
        "| V3 and the trainings before it | | 4.00 · 10¹⁵ | | | |",
    ]


def test_what_a_version_learned_from_counts_once_and_has_no_second_row_where_it_is_a_version(tmp_path):
    v2, before, teacher, v3 = (history(v, [0.5, 0.6], 1e15, 60) for v in ("v2", "v2", "v3", "v3"))
    for seed, run in enumerate((v2, before, teacher, v3)):
        run["run"]["seed"] = seed
    teacher["run"]["images"] = {"train": 2000}
    v3["taught_by"] = [[before, teacher], [v2], []]  # of the last teacher nothing is known
    v3["earlier"] = [teacher | {"earlier": [before]}]
    write(tmp_path, v2=v2, v3=v3)
    rows = [line for line in section("effort", tmp_path).splitlines() if "10¹⁵" in line]
    assert [row.split(" thousand")[0] for row in rows] == [
        "| V2 | 2",
        "| V3 | 2",
        "| on the way to V3: V3, 2 epochs | 4",
        "| on the way to V3: V2, 2 epochs | 2",
        "| V3 and the trainings before it | | 8.00 · 10¹⁵ | | | |",
    ]


def test_seven_classes_have_a_row_too(tmp_path):
    seven = history("v3", [0.5], 1e15, 60)
    seven["run"]["classes"] = 7
    write(tmp_path, **{"v3-7": seven})
    assert "| V3, seven classes | 1 thousand |" in section("effort", tmp_path)
