"""Learning from votes: `train.py --votes`, what it teaches, what the history says of it, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import train
from fer_model import FERModel, FERPipeline
from fer_model.data import votes
from fer_model.data.dataset import FERData
from fer_model.errors import TrainingError
from fer_model.hub.card import render
from fer_model.training.distillation import Crowd, TeacherTargets
from helpers.crowd import votes_for, write_votes
from helpers.small_run import TEST_FACES, TRAIN_FACES, run, whole_and_resumed
from helpers.synthetic import draw_faces

DRAWN, TESTED = draw_faces(TRAIN_FACES, seed=0), draw_faces(TEST_FACES, seed=1)
FEAR = 5


def use_votes(monkeypatch, folder, counts: np.ndarray) -> None:
    """The drawn training faces have these votes."""
    file = write_votes(folder / "votes.npz", (DRAWN, counts), (TESTED, votes_for(TESTED)))
    monkeypatch.setattr(votes, "VOTES_FILE", file)


@pytest.fixture
def voted(monkeypatch, tmp_path_factory):
    use_votes(monkeypatch, tmp_path_factory.mktemp("votes"), votes_for(DRAWN))


def crowd_of(*rows: list[int], share: float = 0.3, classes: int = 6) -> Crowd:
    counts = torch.tensor(rows)
    found = votes.Votes(counts, torch.zeros(len(rows)), torch.ones(len(rows)))
    return Crowd(found, found, share, classes)


def test_targets_are_the_shares_of_votes_for_the_models_classes_and_else_the_label():
    #                 hap sur sad ang dis fea neu con unk not
    crowd = crowd_of([3, 0, 1, 0, 0, 0, 6, 0, 0, 0], [0, 0, 0, 0, 0, 0, 9, 0, 1, 0])
    faces = FERData(torch.zeros(2, 1, 48, 48, dtype=torch.uint8), torch.tensor([2, 4]))
    targets = crowd.targets(faces, torch.device("cpu"))
    assert targets.share == 0.3
    torch.testing.assert_close(targets.probabilities, torch.tensor([[0.75, 0, 0.25, 0, 0, 0], [0, 0, 0, 0, 1, 0]]))
    crowd.classes = 7
    seven = crowd.targets(faces, torch.device("cpu")).probabilities
    torch.testing.assert_close(seven, torch.tensor([[0.3, 0, 0.1, 0, 0, 0, 0.6], [0, 0, 0, 0, 0, 0, 1]]))


def test_teachers_votes_and_label_each_keep_their_share():
    generator = torch.Generator().manual_seed(0)
    said, voted = (torch.randn(4, 6, generator=generator).softmax(dim=1) for _ in range(2))
    label = F.one_hot(torch.tensor([0, 3, 5, 1]), 6).float()
    both = TeacherTargets(voted, 0.3).beside(TeacherTargets(said, 0.5))
    mixed = (1 - both.share) * label + both.share * both.probabilities
    torch.testing.assert_close(mixed, 0.2 * label + 0.5 * said + 0.3 * voted)


def test_a_network_is_judged_by_majorities_and_by_all_votes():
    crowd = crowd_of([8, 0, 2, 0, 0, 0, 0, 0, 0, 0], [0, 3, 3, 0, 0, 0, 4, 0, 0, 0], [0, 0, 0, 0, 0, 1, 9, 0, 0, 0])
    logits = torch.tensor([[4.0, 0, 1, 0, 0, 0], [0, 2, 1, 0, 0, 0], [0, 0, 0, 0, 0, 3]])
    logs = logits.log_softmax(dim=1)
    expected = -(0.8 * logs[0, 0] + 0.2 * logs[0, 2] + 0.5 * logs[1, 1] + 0.5 * logs[1, 2] + logs[2, 5]) / 3
    assert crowd.judge(logits) == {"majority_agreement": 1.0, "cross_entropy": pytest.approx(float(expected))}
    assert crowd.judge(logits.roll(1, dims=1))["majority_agreement"] == 0.0
    assert crowd_of([0, 3, 3, 0, 0, 0, 4, 0, 0, 0]).judge(logits[:1])["majority_agreement"] is None


def test_a_network_that_learns_from_votes_alone_takes_over_what_people_say(dataset, tmp_path, monkeypatch):
    """People who call everything fear are believed against all labels."""
    everything_is_fear = np.zeros((len(DRAWN), len(votes.ANSWERS)), dtype=np.int64)
    everything_is_fear[:, FEAR] = 10
    use_votes(monkeypatch, tmp_path, everything_is_fear)
    history = run(dataset, tmp_path / "run", "--votes", "1", "--epochs", "6", "--lr", "0.002")
    assert history["epochs"][-1]["train_loss"] < 0.6 * history["epochs"][0]["train_loss"]
    assert history["epochs"][-1]["train_accuracy"] == pytest.approx(1 / 6, abs=0.05)


def test_history_command_and_card_name_the_votes(voted, dataset, tmp_path):
    history = run(dataset, tmp_path, "--votes", "0.25", "--classes", "7")
    told = history["run"]["votes"]
    assert told == {
        "share": 0.25,
        "sha256": votes.votes_digest(),
        **history["run"]["images"],
        "validation_majority": history["run"]["images"]["validation"],
    }
    assert "--votes 0.25" in history["run"]["command"]
    assert all(0 <= row["validation_votes"]["majority_agreement"] <= 1 for row in history["epochs"])
    assert all(row["validation_votes"]["cross_entropy"] > 0 for row in history["epochs"])
    text = render("v1", 1, history=history).replace("\n", " ")
    assert "25 % of its targets were the votes of ten people" in text


def test_votes_without_a_share_judge_and_teach_nothing(voted, dataset, first, tmp_path):
    history, without = run(dataset, tmp_path, "--votes", "0"), json.loads((first / "history.json").read_text())
    assert "majority_agreement" in history["epochs"][0]["validation_votes"]
    assert [row["train_loss"] for row in history["epochs"]] == [row["train_loss"] for row in without["epochs"]]
    assert FERModel.from_pretrained(tmp_path / "models").crowd_temperature is None


def test_a_model_that_learned_from_votes_tells_what_ten_people_would_say(voted, dataset, tmp_path):
    run(dataset, tmp_path, "--votes", "0.5")
    (face,) = FERPipeline.from_pretrained(tmp_path / "models")(draw_faces(1)[0][1], whole_picture=True).faces
    assert sum(face.crowd.values()) == pytest.approx(1)
    assert sum(face.ten_people.values()) == 10
    assert list(face.ten_people.values()) == sorted(face.ten_people.values(), reverse=True)
    assert all(abs(face.ten_people.get(name, 0) - 10 * share) < 1 for name, share in face.crowd.items())
    assert replace(face, crowd=None).ten_people == {}


def test_a_run_without_votes_says_nothing_of_them(first):
    assert "votes" not in (first / "history.json").read_text()


@pytest.mark.slow
def test_a_run_with_votes_resumes_like_an_uninterrupted_one(voted, dataset, tmp_path, monkeypatch):
    arguments = ["--votes", "0.5", "--set", "augmentation.mixup=0.4", "--epochs", "2"]
    whole, parts = whole_and_resumed(dataset, tmp_path, monkeypatch, *arguments)
    for key in ("train_loss", "validation_votes"):
        assert [row[key] for row in parts["epochs"]] == [row[key] for row in whole["epochs"]]
    without = [*arguments[2:], "--resume"]
    for other in (without, ["--votes", "0.4", *without]):
        with pytest.raises(TrainingError, match="started with other settings.*votes.share"):
            run(dataset, tmp_path / "parts", *other)


def test_images_without_votes_are_refused(dataset, tmp_path):
    with pytest.raises(TrainingError, match="Only 0 of 36 training images have votes.*leave out --votes"):
        run(dataset, tmp_path, "--votes", "0.3")


def test_shares_of_more_than_all_are_refused(voted, dataset, first, tmp_path):
    teacher = ["--teacher", str(first / "models"), "--teacher-share", "0.6"]
    with pytest.raises(TrainingError, match="--teacher-share 0.6 and --votes 0.5 are more than all"):
        run(dataset, tmp_path, *teacher, "--votes", "0.5")
    with pytest.raises(SystemExit):
        train.parse_args(["--votes", "1.5"])


def test_teachers_and_votes_may_be_the_whole_target(voted, dataset, first, tmp_path):
    history = run(dataset, tmp_path, "--teacher", str(first / "models"), "--teacher-share", "0.7", "--votes", "0.3")
    assert history["run"]["teachers"]["share"] + history["run"]["votes"]["share"] == 1
    assert "--teacher-share 0.7 --votes 0.3" in history["run"]["command"]
