"""A card of the Hub is brought up to date without touching what people wrote in it."""

import json

import pytest
import yaml

from fer_model.errors import FERError
from fer_model.evaluation.expectations import check_expectations
from fer_model.evaluation.metrics import FERMetric
from fer_model.hub import card, merge
from fer_model.labels import class_names
from helpers import ROOT

MINE = "## My notes\n\nText of mine, with two blanks at its end.  \n"


def measured(right: int) -> dict:
    """Metrics of twelve images, of which so many are right."""
    labels = [0, 1, 2, 3, 4, 5] * 2
    predicted = [label if i < right else (label + 1) % 6 for i, label in enumerate(labels)]
    probabilities = [[0.9 if index == p else 0.02 for index in range(6)] for p in predicted]
    metrics = FERMetric().compute(predictions=probabilities, references=labels)
    expectations = check_expectations(metrics, None)
    return metrics | {"private_test": None, "expectations": expectations, "dataset": "a/b", "command": "evaluate.py"}


def rendered(right: int | None = None) -> str:
    return card.render("v1", 10, repo_id="user/name", metrics=None if right is None else measured(right))


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---")[1])


def accuracies(text: str) -> list[float]:
    index = front(text).get("model-index") or []
    return [m["value"] for e in index for r in e["results"] for m in r["metrics"] if m["type"] == "accuracy"]


def test_merging_a_card_of_the_hub_with_itself_changes_nothing():
    assert merge.merged(rendered(9), rendered(9)) == rendered(9)
    assert merge.with_results(rendered(9), rendered(9)) == rendered(9)
    assert merge.merged("", rendered(9)) == rendered(9)


@pytest.mark.parametrize("place", ["top", "between", "end"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_a_person_wrote_in_a_card_stays_byte_for_byte(place, newline):
    old = rendered(9)
    assert MINE.rstrip() not in old
    begin = {"top": "<!-- generated: intro -->", "between": "<!-- generated: training -->", "end": None}[place]
    old = old.replace(begin, f"{MINE}\n{begin}") if begin else old + MINE
    old = old.replace("\n", newline)
    new = merge.merged(old, rendered(6))
    assert MINE.replace("\n", newline).rstrip() in new
    assert new.replace(newline, "\n") == merge.merged(old.replace(newline, "\n"), rendered(6))
    assert accuracies(new) == [0.5]
    assert merge.merged(new, rendered(9)) == old


def test_front_matter_that_a_person_wrote_stays_with_its_comments_and_order():
    mine = "# why this licence\nlicense: cc-by-nc-4.0  # (ours)\ntags:\n- mine\n# after\nlanguage:\n- en\n"
    new = merge.merged(f"---\n{mine}---\nBody.\n", rendered(9))
    assert new.startswith("---\n# why this licence\nlicense: cc-by-nc-4.0  # (ours)\ntags:\n- mine\n")
    assert "# after\nlanguage:\n- en\n" in new
    assert front(new)["tags"][0] == "mine"
    assert "fer2013" in front(new)["tags"]
    assert front(new)["library_name"] == "fer-model"
    assert accuracies(new) == [0.75]
    assert merge.personal(new).endswith("Body.")


def test_only_our_own_results_in_a_model_index_are_replaced():
    theirs = {
        "task": {"type": "image-classification"},
        "dataset": {"type": "x/y", "name": "Y"},
        "metrics": [{"type": "accuracy", "value": 0.123}],
    }
    old = rendered(9)
    index = front(old)["model-index"]
    index[0]["results"].append(theirs)
    old = old.replace(old[old.index("model-index:") : old.index("---", 4)], yaml.safe_dump({"model-index": index}))
    assert accuracies(merge.with_results(old, rendered(6))) == [0.5, 0.123]
    unmeasured = merge.merged(old, rendered())
    assert accuracies(unmeasured) == [0.123], "figures of weights that are gone do not stay, theirs do"


def test_sections_that_a_card_lacks_are_put_where_they_belong():
    new = merge.merged(f"---\nlicense: mit\n---\n# Title of mine\n\n{MINE}", rendered(9))
    order = ["intro", "use", "results", "training", "limits"]
    found = [new.index(f"<!-- generated: {name} -->") for name in order]
    assert found == sorted(found)
    assert "# Title of mine" in new
    without = rendered(9).replace(rendered(9)[found_section(rendered(9), "results")], "")
    assert merge.merged(without, rendered(9)).index("generated: use") < merge.merged(without, rendered(9)).index(
        "## Results"
    )


def found_section(text: str, name: str) -> slice:
    end = f"<!-- /generated: {name} -->"
    return slice(text.index(f"<!-- generated: {name} -->"), text.index(end) + len(end))


def test_results_alone_do_not_add_sections_to_a_card_that_has_none():
    old = "---\nlicense: mit\n---\n\n# Their own card\n\nNo marks here.\n"
    new = merge.with_results(old, rendered(9))
    assert new.endswith("\n# Their own card\n\nNo marks here.\n")
    assert accuracies(new) == [0.75]


@pytest.mark.parametrize(
    "old",
    [
        "no front matter\n",
        "---\n---\nnothing in it\n",
        "---\ntags: [\n  a,\n  b\n]\nlicense: mit\n---\na list that closes at the margin\n",
        '---\n"tags": [a]\n"license": mit\n---\nquoted keys\n',
        "---\ntags:\n- a # note\n\n# more\n- b\n---\ncomments inside\n",
    ],
)
def test_front_matter_in_an_unusual_style_is_understood(old):
    new = merge.merged(old, rendered(9))
    assert old.strip().splitlines()[-1] in new
    assert set(front(new)["tags"]) >= {"fer2013", *(["a"] if "tags" in old else [])}
    assert accuracies(new) == [0.75]
    assert merge.merged(new, rendered(9)) == new


@pytest.mark.parametrize("old", ["---\n: [broken\n---\nBody\n", "---\n- a list\n---\nBody\n"])
def test_front_matter_that_is_none_is_refused_rather_than_lost(old):
    with pytest.raises(FERError, match="front matter"):
        merge.merged(old, rendered(9))


def test_lines_that_need_no_change_are_left_as_they_are():
    text = rendered(9).replace("tags:\n", "tags: # ours\n").replace("license: mit", "license: 'mit'   # free")
    assert merge.merged(text, rendered(6)) == text.replace(front_results(9), front_results(6)).replace(
        rendered(9)[found_section(rendered(9), "intro")], rendered(6)[found_section(rendered(6), "intro")]
    ).replace(rendered(9)[found_section(rendered(9), "results")], rendered(6)[found_section(rendered(6), "results")])


def front_results(right: int) -> str:
    text = rendered(right)
    return text[text.index("model-index:") : text.index("---", 4)]


def test_datasets_that_a_person_named_stay_and_ours_goes_when_it_no_longer_holds():
    old = "---\ndatasets:\n- my/faces\n- clip-benchmark/wds_fer2013\n---\nBody.\n"
    assert front(merge.merged(old, rendered(9)))["datasets"] == ["my/faces"]


def test_a_local_test_set_is_named_without_its_path():
    path = "/home/me/My Faces (new)"
    metrics = measured(9) | {"dataset": path, "command": f"python evaluate.py --version v1 --dataset '{path}'"}
    history = json.loads((ROOT / "results" / "v3" / "history.json").read_text())
    history["run"] |= {"dataset": path, "command": f"accelerate launch train.py --dataset '{path}' --version v1"}
    history["run"]["init"] = {"model": "/home/me/old/models", "sha256": ""}
    text = card.render("v1", 10, repo_id="user/name", metrics=metrics, history=history)
    assert "/home/me" not in text
    assert "`python evaluate.py --version v1 --dataset 'My Faces (new)'`" in text
    assert "train.py --dataset 'My Faces (new)' --version v1\n" in text
    assert "began at the weights of `old/models`" in text.replace("\n", " ")
    assert {r["dataset"]["type"] for e in front(text)["model-index"] for r in e["results"]} == {"My-Faces-new"}


def measured_seven(images: int = 7) -> dict:
    labels = [index % 7 for index in range(images)]
    probabilities = [[float(index == label) for index in range(7)] for label in labels]
    metrics = FERMetric().compute(predictions=probabilities, references=labels)
    expectations = check_expectations(metrics, None)
    return metrics | {"private_test": None, "expectations": expectations, "dataset": "a/b", "command": "evaluate.py"}


def test_the_card_of_seven_classes_is_about_seven():
    text = card.render("v1", 10, emotions=class_names(7), metrics=measured_seven())
    assert "# Facial expression recognition on FER2013, V1, seven classes\n" in text
    assert "one of seven\nexpressions: happiness, surprise, sadness, anger, disgust, fear, neutral." in text
    assert "seven probabilities" in text
    assert "to logits (B, 7)" in text
    assert "| neutral | 100.0 % |" in text
    assert "do not apply to seven" in text
    assert "no neutral" not in text
    assert "without neutral" not in text
    assert front(text)["model-index"][0]["name"] == "fer2013-v1-7"
    assert merge.merged(text, text) == text


def test_the_card_of_six_classes_names_neutral_as_its_limit_and_itself_by_its_version():
    text = card.render("v1", 10, metrics=measured(9))
    assert "**Six classes and no neutral.**" in text
    assert "The design of V2 wrote down five expectations" in text
    assert "do not apply" not in text
    assert front(text)["model-index"][0]["name"] == "fer2013-v1"


def test_the_whole_test_set_of_seven_classes_is_called_fer2013():
    text = card.render("v1", 10, emotions=class_names(7), metrics=measured_seven(7178))
    assert "Measured on FER2013's test set (7,178 images)" in text
    text = card.render("v1", 10, emotions=class_names(7), metrics=measured_seven(5945))
    assert "Measured on the test split of a/b (5,945 images)" in text
