"""A network beside ten people: what each figure counts, and when evaluate.py writes them."""

import json
import shutil

import numpy as np
import pytest
import torch

from fer_model.data import votes as data_votes
from fer_model.data.dataset import FERData
from fer_model.evaluation import votes
from fer_model.evaluation.measure import best_of_six
from fer_model.evaluation.metrics import bootstrap_interval, bootstrap_mean
from fer_model.labels import EMOTIONS, LABEL2ID
from fer_model.model.network import FERModel
from helpers.crowd import stack, votes_for, write_votes
from helpers.scripts import python
from helpers.small_run import TEST_FACES, TRAIN_FACES
from helpers.synthetic import draw_faces

HAPPINESS, SURPRISE, SADNESS, ANGER, DISGUST, FEAR, NEUTRAL = range(7)

#                         hap sur sad ang dis fea neu con unk not
COUNTS = torch.tensor(
    [
        [10, 0, 0, 0, 0, 0, 0, 0, 0, 0],  # label happiness, all agree
        [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],  # label surprise, two favourites
        [0, 0, 2, 0, 0, 1, 7, 0, 0, 0],  # label fear: no majority of six, and the favourite of all is neutral
        [0, 0, 6, 0, 0, 0, 4, 0, 0, 0],  # label neutral, seen as sadness
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],  # label anger, without votes
    ]
)
LABELS = torch.tensor([HAPPINESS, SURPRISE, FEAR, NEUTRAL, ANGER])


def answers(*predicted: int, classes: int = 6) -> torch.Tensor:
    """Probabilities of a network that gives these answers."""
    return 0.4 * torch.nn.functional.one_hot(torch.tensor(predicted), classes) + torch.full((classes,), 0.6 / classes)


def shares(found: dict) -> dict[str, tuple[float, int]]:
    keys = ("crowd_accuracy", "majority_agreement", "clean_accuracy", "disputed_accuracy")
    return {key: (pytest.approx(found[key]["value"]), found[key]["n"]) for key in keys}


def test_each_figure_counts_the_images_that_it_says():
    found = votes.against_votes(answers(HAPPINESS, SURPRISE, FEAR, SADNESS, ANGER), LABELS, COUNTS)
    assert shares(found) == {
        "crowd_accuracy": ((1 + 0.5 + 0) / 3, 3),
        "majority_agreement": (2 / 3, 3),  # of surprise the first of two favourites, happiness, counts
        "clean_accuracy": (1, 1),
        "disputed_accuracy": (1, 2),
    }
    found = votes.against_votes(answers(HAPPINESS, HAPPINESS, SADNESS, FEAR, FEAR), LABELS, COUNTS)
    assert found["majority_agreement"]["value"] == pytest.approx(2 / 3)
    assert found["disputed_accuracy"]["value"] == 0


def test_a_figure_of_no_images_is_none():
    found = votes.against_votes(answers(HAPPINESS), LABELS[:1], COUNTS[:1])
    assert found["disputed_accuracy"] is None
    assert found["clean_accuracy"]["n"] == 1


def test_agreement_is_told_by_how_many_people_chose_the_favourite():
    found = votes.against_votes(answers(HAPPINESS, SURPRISE, FEAR, SADNESS, ANGER), LABELS, COUNTS)["by_certainty"]
    assert [(row["votes"], row["n"]) for row in found] == [(2, 1), (5, 1), (10, 1)]
    assert [row["accuracy"] for row in found] == [1, 1, 1]
    assert [row["agreement"] for row in found] == [0, 0, 1]
    assert [row["crowd_accuracy"] for row in found] == [0, 0.5, 1]


def test_probabilities_that_are_the_shares_of_votes_fit_best():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 6, (40, 10), generator=generator)
    labels = torch.randint(0, 6, (40,), generator=generator)
    perfect = data_votes.distribution(counts, 6)
    found = votes.against_votes(perfect, labels, counts)["distribution"]
    assert found["model"]["total_variation"] == pytest.approx(0, abs=1e-6)
    assert found["model"]["cross_entropy"] == pytest.approx(found["entropy"])
    assert found["entropy"] < found["label"]["cross_entropy"] < found["constant"]["cross_entropy"]
    uniform = votes.against_votes(torch.full((40, 6), 1 / 6), labels, counts)["distribution"]["model"]
    assert uniform["cross_entropy"] == pytest.approx(np.log(6), rel=1e-5)
    assert uniform["total_variation"] == pytest.approx(float((perfect - 1 / 6).abs().sum(dim=1).mean() / 2), rel=1e-5)


def test_the_bootstrap_of_shared_hits_is_that_of_hits_where_none_is_shared():
    hits = np.array([1.0] * 700 + [0.0] * 300)
    assert bootstrap_mean(hits) == pytest.approx(bootstrap_interval(700, 1000), abs=0.003)
    low, high = bootstrap_mean(np.full(50, 0.5))
    assert (low, high) == (0.5, 0.5)


def test_ferplus_s_benchmark_leaves_out_single_votes_ties_unknowns_and_public_test():
    rows = [
        [0, 0, 4, 1, 1, 1, 3, 0, 0, 0],  # sadness: 4 of the 7 votes that are not single
        [0, 0, 5, 0, 0, 0, 5, 0, 0, 0],  # no majority
        [0, 0, 0, 0, 0, 0, 2, 8, 0, 0],  # contempt, which no network here can say
        [0, 0, 0, 2, 0, 0, 0, 0, 8, 0],  # unknown
        [9, 0, 0, 0, 0, 0, 1, 0, 0, 0],  # happiness, but in PublicTest
        [0, 0, 0, 0, 0, 0, 20, 0, 0, 0],  # neutral, of two copies
    ]
    usage = ("PrivateTest",) * 4 + ("PublicTest", "PrivateTest")
    found = votes.ferplus(
        answers(SADNESS, SADNESS, NEUTRAL, ANGER, ANGER, NEUTRAL, classes=7), usage, torch.tensor(rows)
    )
    assert (found["accuracy"]["value"], found["accuracy"]["n"], found["contempt"]) == (pytest.approx(2 / 3), 3, 1)
    assert (found["without_contempt"]["value"], found["without_contempt"]["n"]) == (1, 2)


def test_a_network_of_seven_classes_is_asked_for_the_best_of_six():
    logits = torch.zeros(3, 7)
    logits[:, NEUTRAL] = 9
    logits[0, FEAR], logits[1, ANGER] = 1, 1
    faces = FERData(torch.zeros(3, 1, 48, 48, dtype=torch.uint8), torch.tensor([FEAR, SADNESS, NEUTRAL]))
    found = best_of_six(FERModel("v1", classes=7), logits, faces)
    assert (found["n"], found["accuracy"]) == (2, 0.5)
    assert list(found["per_class"]) == list(EMOTIONS)


# evaluate.py


@pytest.fixture
def voted(monkeypatch, tmp_path):
    """The drawn faces have votes; people see sadness in the neutral ones."""
    drawn, tested = draw_faces(TRAIN_FACES, seed=0), draw_faces(TEST_FACES, seed=1)
    counts = votes_for(tested)
    at_rest = [name == "neutral" for name, _ in tested]
    counts[at_rest] = 0
    counts[at_rest, LABEL2ID["sadness"]] = 10
    file = write_votes(tmp_path / "votes.npz", (drawn, votes_for(drawn)), (tested, counts))
    monkeypatch.setattr(data_votes, "VOTES_FILE", file)


def test_evaluation_compares_six_classes_with_votes_for_images_of_all_labels(voted, trained, dataset, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "v1")
    done = python("evaluate.py", "--model", folder / "models", "--dataset", dataset)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["n"] == 6 * TEST_FACES
    found = metrics["votes"]
    assert (found["crowd_accuracy"]["value"], found["crowd_accuracy"]["n"]) == (1, 6 * TEST_FACES)
    assert found["majority_agreement"]["n"] == 7 * TEST_FACES, "also the neutral images"
    assert (found["clean_accuracy"]["value"], found["clean_accuracy"]["n"]) == (metrics["accuracy"], 6 * TEST_FACES)
    assert found["disputed_accuracy"] is None
    assert not {"ferplus", "six_classes"} & metrics.keys()
    assert (folder / "visualizations" / "votes.png").stat().st_size > 5000
    assert "ten people's favourite is the label: 100.00%" in done.stdout
    card = (folder / "models" / "README.md").read_text()
    assert "Ten people were asked about each of these images" in card


@pytest.mark.slow
def test_evaluation_of_seven_classes_also_tells_the_best_of_six(voted, dataset, tmp_path):
    model = FERModel("v1", seed=3, classes=7)
    model.save_pretrained(tmp_path / "run" / "models")
    python("evaluate.py", "--model", tmp_path / "run" / "models", "--dataset", dataset, "--tta", "flip")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["votes"]["clean_accuracy"]["n"] == 6 * TEST_FACES
    assert metrics["ferplus"]["accuracy"]["n"] <= 7 * TEST_FACES // 2
    six = metrics["six_classes"]
    assert six["n"] == metrics["tta"]["six_classes"]["n"] == 6 * TEST_FACES
    assert six["votes"]["majority_agreement"]["n"] == 7 * TEST_FACES
    assert list(six["per_class"]) == list(EMOTIONS)


def test_too_few_votes_are_no_comparison():
    faces = stack(draw_faces(2))
    assert not votes.enough(data_votes.find_votes(faces, "test"))


def test_the_command_counts_what_it_found_and_by_class(voted, dataset, tmp_path):
    done = python("-m", "fer_model", "votes", "--dataset", dataset, "--output", tmp_path / "votes.json")
    found = json.loads((tmp_path / "votes.json").read_text())
    assert found["test"]["exact_hash"] == found["test"]["with_votes"] == 7 * TEST_FACES
    assert found["train"]["images"] == 7 * TRAIN_FACES
    assert found["test"]["six_classes"]["crowd_accuracy"]["value"] == 1
    seven = found["test"]["seven_classes"]["per_class"]["neutral"]
    assert (seven["crowd_accuracy"]["value"], seven["looks_neutral"]) == (0, 0)
    assert found["test"]["vote_shares"]["neutral"]["sadness"] == 1
    assert f"test: {7 * TEST_FACES} of {7 * TEST_FACES} images have votes" in done.stdout
    assert (tmp_path / "votes.png").stat().st_size > 5000


def test_fer2013_s_crowd_agrees_with_its_labels_as_published(fer_dataset, tmp_path):
    """../shared/PEERS.md: 69.6 % of 5,924 images; and the images of each figure of a network."""
    from helpers.loaded import load

    faces = load(fer_dataset, "test", classes=7)
    counts = data_votes.find_votes(faces.images, "test")
    found = votes.study(faces, counts)["six_classes"]
    assert (round(found["crowd_accuracy"]["value"], 3), found["crowd_accuracy"]["n"]) == (0.696, 5924)
    by_class = [round(100 * part["crowd_accuracy"]["value"]) for part in found["per_class"].values()]
    assert by_class == [96, 85, 73, 63, 47, 17]
    assert (found["per_class"]["fear"]["looks_neutral"], found["per_class"]["sadness"]["looks_neutral"]) == (346, 632)
    figures = votes.against_votes(answers(*[0] * len(faces)), faces.labels, counts.counts)
    assert [figures[key]["n"] for key in ("majority_agreement", "clean_accuracy", "disputed_accuracy")] == [
        4097,
        3269,
        2457,
    ]
