"""Copies of photos, and what they do to the figures."""

import json

from fer_model.labels import EMOTIONS
from fer_model.report.readme import section


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
    text = section("data", tmp_path)
    assert "| correlation ≥ 0.95 | 10 | 1 | 2 | 0 · 7 | 0 · 1 · 0 | 20.0 % | 4 | 3 |" in text
    assert "5 photos occur more than once, equal in every pixel: 6" in text
    assert " of the 80 images are such copies" in text
    assert "3 images are of a single grey" in text
    assert "Without the 3 test images that have a near-duplicate in Training (at 0.95) accuracy" in text
    assert text.endswith("is lower: V2 by 2.0 points.")
