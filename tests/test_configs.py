"""Any option of a recipe can be set by its name."""

from dataclasses import replace

import pytest

from fer_model.configs import Augmentation, Recipe, changed
from fer_model.errors import TrainingError

PLAIN = Recipe(lr=0.1, weight_decay=0.01)


def test_any_option_can_be_set_by_name():
    found = changed(PLAIN, ["focal=2", "cosine=true", "epochs=7", "optimizer=sgd", "augmentation.mixup=0.2"])
    expected = replace(PLAIN, focal=2.0, cosine=True, epochs=7, optimizer="sgd", augmentation=Augmentation(mixup=0.2))
    assert found == expected
    assert changed(PLAIN, []) is PLAIN


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("fokal=2", "label_smoothing"),
        ("optimizer=smg", "adamw"),
        ("ema=2", "ema is 2"),
        ("epochs=0", "at least 1"),
        ("size=8", "from 16"),
        ("lr=nan", "lr is nan"),
        ("augmentation.shrink=2", "enlarge"),
        ("epochs=many", "int"),
        ("cosine=maybe", "bool"),
        ("x.y=1", "options"),
        ("", "options"),
    ],
)
def test_an_option_that_is_none_is_refused_with_the_list(assignment, says):
    with pytest.raises(TrainingError, match=says):
        changed(PLAIN, [assignment])
