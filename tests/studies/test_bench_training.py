"""What `python -m fer_model bench --only training` measures, on networks and faces as small as can be."""

from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState

from fer_model import __main__ as main
from fer_model.configs import CONFIGS
from fer_model.data.dataset import FERData
from fer_model.runs import read_json, write_json
from fer_model.studies import bench_training
from fer_model.studies.bench_training import _OneByOne


def test_the_plain_way_shows_each_face_once_in_the_form_that_the_network_takes():
    images = torch.randint(0, 256, (4, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recipe = CONFIGS["v4"].recipe
    data = _OneByOne(FERData(images, torch.arange(4)), recipe)
    shown = [data[index] for index in range(len(data))]
    assert [label for _, label in shown] == [0, 1, 2, 3]
    assert all(image.shape == (3, recipe.last_size, recipe.last_size) for image, _ in shown)
    assert all(image.min() >= -1 and image.max() <= 1 for image, _ in shown)


@pytest.fixture
def small(monkeypatch):
    """One version and two mini-batches of two small images; whatever precision the processor likes."""
    recipe = replace(CONFIGS["v1"].recipe, batch_size=2, size=16, size_at_end=24, share_at_end=0.5)
    monkeypatch.setattr(bench_training, "VERSIONS", ("v1",))
    monkeypatch.setattr(bench_training, "CONFIGS", {"v1": replace(CONFIGS["v1"], recipe=recipe)})
    monkeypatch.setattr(bench_training, "BATCHES", 2)
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_part_is_measured_alone_and_the_others_figures_stay(dataset, tmp_path):
    file = tmp_path / "benchmarks.json"
    write_json(file, {"command": "of the answers", "photo_vs_before": {"v1": {"median": 2.0}}})
    options = ["--dataset", str(dataset), "--only", "training", "--rounds", "4", "--output", str(file)]
    main.main(["bench", *options])
    found = read_json(file)
    assert found["command"] == "of the answers"
    assert found["photo_vs_before"] == {"v1": {"median": 2.0}}
    assert "--only training" in found["training"]["command"]
    for name in ("train_vs_bare_step", "train_vs_plain"):
        assert 0 < found[name]["v1"]["low"] <= found[name]["v1"]["median"] <= found[name]["v1"]["high"]
    assert [row["size"] for row in found["training"]["rows"]] == [16, 24]
    assert all(row["seconds_per_image"] > 0 for row in found["training"]["rows"])
