"""Which checkpoints stay where one of them was damaged."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_model.runs import Run
from fer_model.training import checkpoints


def save_state(folder: str) -> None:
    Path(folder).mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.bin"):
        Path(folder, name).write_bytes(b"whole")


ACCELERATOR = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None, save_state=save_state)


@pytest.fixture
def damaged(tmp_path) -> Run:
    """The checkpoints of a run, as seldom as on a GPU; the second is damaged."""
    run = Run(tmp_path)
    run.history_file.write_text("{}")
    for epoch in (10, 20):
        checkpoints.save_checkpoint(run, epoch, ACCELERATOR)
    (run.checkpoints / "epoch-020" / "optimizer.bin").write_bytes(b"cut")
    assert checkpoints.newest_whole(run).name == "epoch-010"
    return run


@pytest.mark.parametrize("epochs", [(15, 19, 21), (20, 21), (19,)])
def test_a_damaged_checkpoint_is_none_of_the_two_that_stay(damaged, epochs):
    for epoch in epochs:
        checkpoints.save_checkpoint(damaged, epoch, ACCELERATOR)
    whole = [folder.name for folder in checkpoints.all_checkpoints(damaged)]
    assert whole == [f"epoch-{epoch:03d}" for epoch in sorted((10, *epochs))[:-3:-1]]


def test_half_a_damaged_checkpoint_is_not_taken_for_one_of_an_earlier_release(damaged, monkeypatch):
    """A kill while it is deleted, just after its digests: earlier releases wrote none."""

    def half(folder: Path, **_) -> None:
        if (digests := folder / "digests.json").is_file():
            digests.unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.shutil, "rmtree", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save_checkpoint(damaged, 20, ACCELERATOR)
    assert checkpoints.newest_whole(damaged).name == "epoch-010"
