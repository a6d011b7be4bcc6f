"""What the command lines share: kinds of values, and places that are tried before the work."""

import argparse
import errno
import tempfile

import pytest

from fer_model import cli
from fer_model.errors import FERError
from helpers.scripts import python


@pytest.mark.parametrize("text", ["-1", "2147483648", "18446744073709551616", "1.5", "", "x"])
def test_a_seed_that_some_generator_does_not_take_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="from 0 to 2147483647"):
        cli.seed(text)
    assert cli.seed("2147483647") == 2**31 - 1


def test_a_place_for_results_is_tried_and_nothing_is_left_there(tmp_path):
    cli.require_folders(tmp_path / "a" / "b")
    (tmp_path / "there.json").write_text("{}")
    cli.require_files(tmp_path / "new" / "file.json", tmp_path / "there.json")
    assert [path.name for path in tmp_path.iterdir()] == ["there.json"]
    assert (tmp_path / "there.json").read_text() == "{}"


def test_a_file_in_the_way_a_folder_of_that_name_and_too_little_room_are_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FERError, match="file is a file; choose another place"):
        cli.require_folders(tmp_path / "file" / "results")
    with pytest.raises(FERError, match="is a folder; name a file in it"):
        cli.require_files(tmp_path)
    with pytest.raises(FERError, match="There is too little room"):
        cli.require_folders(tmp_path, needed=10**18)


def test_a_disk_that_may_only_be_read_is_told(tmp_path, monkeypatch):
    def refuse(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(FERError, match=r"Nothing can be written into .* \(Read-only file system\)"):
        cli.require_folders(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ["train.py", "--version", "v1", "--dataset", "nowhere/nothing", "--output-dir", "FILE/run"],
        ["evaluate.py", "--model", "nobody/nothing", "--output-dir", "FILE"],
        ["-m", "fer_model", "predict", "examples/drawn_anger.png", "--csv", "FOLDER"],
        ["-m", "fer_model", "predict", "examples/drawn_anger.png", "--gradcam", "FILE"],
        ["-m", "fer_model", "votes", "--output", "FOLDER"],
        ["-m", "fer_model", "duplicates", "--dataset", "nowhere/nothing", "--output", "FILE/data.json"],
        ["-m", "fer_model", "robustness", "--output", "FOLDER"],
    ],
)
def test_commands_find_a_place_that_cannot_be_written_before_their_work(command, tmp_path):
    (tmp_path / "file").touch()
    words = [word.replace("FILE", str(tmp_path / "file")).replace("FOLDER", str(tmp_path)) for word in command]
    done = python(*words, check=False)
    assert done.returncode == 2
    assert "choose another place" in done.stderr or "name a file in it" in done.stderr
