"""Studies: their rows name what exists, and lead from one recipe to the other."""

import shlex
from dataclasses import replace

import pytest

from fer_model.__main__ import main
from fer_model.ablation.studies import STUDIES, Row, Study
from fer_model.configs import CONFIGS, Config, changed


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_of_a_study_names_a_version_and_options_that_exist(name):
    study = STUDIES[name]
    assert len({row.name for row in study.rows}) == len(study.rows)
    assert len({row.arguments for row in study.rows}) == len(study.rows), "no row is another's twin"
    for row in study.rows:
        config_of(study, row)


def config_of(study: Study, row: Row) -> Config:
    """The architecture and recipe that a row trains."""
    words = [*row.arguments, *study.arguments]
    config = CONFIGS[words[words.index("--version") + 1]]
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    settings += [f"lr={words[i + 1]}" for i, word in enumerate(words) if word == "--lr"]
    return replace(config, recipe=changed(config.recipe, settings))


def test_the_way_from_v2_to_v3_begins_at_the_one_recipe_and_ends_at_the_other():
    study = STUDIES["v2-to-v3"]
    versions = [row.arguments[1] for row in study.rows]
    recipes = [config_of(study, row).recipe for row in study.rows]
    assert {(recipe.together, recipe.validation_fraction) for recipe in recipes} == {(True, 0.2)}, "one split for all"
    steps = versions.index("v3"), next(i for i, row in enumerate(study.rows) if row.name.endswith(": V3"))
    v2 = replace(CONFIGS["v2"].recipe, size=48, size_at_end=48)
    ignored = {"epochs": 1, "patience": 1, "together": True, "validation_fraction": 0.2}
    assert replace(recipes[steps[0]], **ignored) == replace(v2, **ignored)
    assert replace(recipes[steps[1]], **ignored) == replace(CONFIGS["v3"].recipe, **ignored)


def test_the_way_from_v1_to_v2_changes_one_thing_a_row():
    study = STUDIES["v1-to-v2"]
    configs = [config_of(study, row) for row in study.rows]
    v1, blocks, attention, rate, v2 = configs[:5]
    assert (v1, v2) == (CONFIGS["v1"], CONFIGS["v2"])
    assert blocks.recipe == v1.recipe and blocks.architecture.filters == v2.architecture.filters
    assert attention.recipe == v1.recipe and attention.architecture == v2.architecture
    assert replace(attention.architecture, channel_attention=False) == blocks.architecture
    assert rate == replace(attention, recipe=replace(attention.recipe, lr=v2.recipe.lr))
    assert v2 == replace(rate, recipe=replace(rate.recipe, weight_decay=v2.recipe.weight_decay))
    assert [config == end for config, end in zip(configs[5:], (v1, v2), strict=True)] == [True, True], "other seeds"


def test_the_list_shows_every_row(capsys):
    main(["ablation", "--list"])
    shown = capsys.readouterr().out
    for study in STUDIES.values():
        assert all(shlex.join(row.arguments) in shown for row in study.rows)
