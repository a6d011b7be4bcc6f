"""Faults of the Hub: each ends in one sentence that says what to do and a non-zero exit status.

Afterwards the same push, or a load with the same cache, must work, once the fault is gone.
"""

import signal
import subprocess
import sys
import time

import pytest

from fer_model.hub.download import hub_card
from fer_model.model.network import FERModel
from helpers import ROOT
from helpers.hub.cases import CASES, Stage, local_files, model_files
from helpers.hub.client import TOKENS, HubUser
from helpers.hub.faults import Fault
from helpers.hub.repos import WRONG_TOKEN
from helpers.hub.server import running_hub


@pytest.fixture(scope="module")
def stage(hub, tmp_path_factory) -> Stage:
    return Stage(hub, tmp_path_factory.mktemp("faults"))


def require_one_sentence(name: str, done: subprocess.CompletedProcess) -> None:
    """One that says what to do, and a non-zero exit status."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    script = {"push": "fer_model: "}.get(CASES[name].does, "evaluate.py: ")
    sentences = [line for line in done.stderr.splitlines() if line.startswith(script)]
    assert len(sentences) == 1
    said = done.stderr[done.stderr.index(sentences[0]) :]
    assert all(word in said for word in CASES[name].says), said
    if CASES[name].does == "push":
        assert "Nothing is lost" in said
        assert "python -m fer_model push" in said


# in a process of its own, with its imports, is what changes its environment or its disk
OWN_PROCESS = [name for name, case in CASES.items() if case.full_disk or case.environment]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in OWN_PROCESS)) for name in CASES]
)
def test_a_fault_of_the_hub_is_one_sentence_changes_no_local_result_and_once_it_is_gone_all_works(stage, name):
    outcome = stage.play(name)
    require_one_sentence(name, outcome.done)
    assert outcome.untouched
    if CASES[name].mended:
        stage.play_mended(name)
    for path, content in local_files(stage.home(name)).items():
        assert not any(token.encode() in content for token in TOKENS), f"{path} holds a token"


@pytest.mark.slow
def test_a_hub_that_sends_a_byte_a_second_is_waited_for_until_ctrl_c_and_leaves_nothing_broken(stage):
    name = "pull, slow"
    stage.hub.create("models", stage.repo_id(name), stage.model)
    user = HubUser(stage.hub, stage.home(name) / "cache")
    command = [sys.executable, "evaluate.py", "--model", stage.repo_id(name), "--dataset", stage.folder / "dataset"]
    with stage.hub.playing(Fault(f"GET /{stage.repo_id(name)}/.*safetensors", slow=True)):
        words = [str(word) for word in (*command, "--output-dir", stage.home(name))]
        process = subprocess.Popen(words, cwd=ROOT, env=user.environment, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 100
        while not (begun := list(user.cache.rglob("*.incomplete"))) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert begun
    assert process.returncode == 130
    assert said.splitlines()[-1] == "evaluate.py: interrupted"
    with user.at_work():
        FERModel.from_pretrained(stage.repo_id(name))


@pytest.mark.slow
def test_a_fault_of_the_hub_is_the_same_sentence_after_all_attempts_of_the_real_client(tmp_path):
    with running_hub() as hub:  # one of its own: the session's Hub holds what the tests above uploaded
        outcomes = Stage(hub, tmp_path).play_all()
    for name, outcome in outcomes.items():
        require_one_sentence(name, outcome.done)
        assert outcome.untouched


def test_a_wrong_token_for_the_hub_is_found_before_the_training(hub, tmp_path):
    user = HubUser(hub, tmp_path / "cache", WRONG_TOKEN)
    options = ["--dataset", tmp_path, "--output-dir", tmp_path / "out", "--push-to-hub", "tester/early"]
    done = user.script("train.py", *options, check=False)
    assert done.returncode == 2
    assert "tester/early cannot be pushed to: the Hub refused your token (401)" in done.stderr


def test_a_model_in_the_cache_is_used_while_the_hub_is_down(hub, tmp_path):
    model_files(tmp_path / "model")
    hub.create("models", "tester/down", local_files(tmp_path / "model"))
    user = HubUser(hub, tmp_path / "cache")
    before = user.logits("tester/down")
    with hub.playing(Fault("tester/down", 503)):
        assert user.logits("tester/down") == before


def test_a_card_of_the_hub_that_cannot_be_read_anew_is_not_replaced_by_an_old_one(hub, tmp_path):
    """The client would fall back to what is in the cache when the Hub answers 503."""
    model_files(tmp_path / "run" / "models")
    user = HubUser(hub, tmp_path / "cache")
    user.script("-m", "fer_model", "push", tmp_path / "run", "tester/stale")
    user.logits("tester/stale")
    with user.at_work():
        hub_card("tester/stale")
    repo = hub.repo("models", "tester/stale")
    repo.commit({"README.md": repo.files()["README.md"] + b"A sentence of mine.\n"})
    with hub.playing(Fault("HEAD /tester/stale/resolve/.*README", 503)):
        done = user.script("-m", "fer_model", "push", tmp_path / "run", "tester/stale", check=False)
    assert done.returncode == 2
    assert b"A sentence of mine." in repo.files()["README.md"]


def test_what_somebody_writes_into_the_hub_card_during_an_upload_is_not_lost(hub, tmp_path):
    model_files(tmp_path / "run" / "models")
    repo = hub.create("models", "tester/meanwhile")

    def meanwhile(body: bytes) -> bytes:
        repo.commit({"README.md": b"Written at this moment.\n"})
        return body

    user = HubUser(hub, tmp_path / "cache")
    with hub.playing(Fault("preupload", edit=meanwhile, times=1)):
        done = user.script("-m", "fer_model", "push", tmp_path / "run", "tester/meanwhile", check=False)
    assert done.returncode == 2
    assert "somebody changed it at the same moment (412); try again" in done.stderr
    assert set(repo.files()) == {".gitattributes", "README.md"}
    user.script("-m", "fer_model", "push", tmp_path / "run", "tester/meanwhile")
    assert b"Written at this moment." in repo.files()["README.md"]


def test_a_private_push_into_a_public_hub_repository_is_refused(hub, tmp_path):
    model_files(tmp_path / "run" / "models")
    hub.create("models", "tester/public")
    command = ["-m", "fer_model", "push", tmp_path / "run", "tester/public", "--private"]
    done = HubUser(hub, tmp_path / "cache").script(*command, check=False)
    assert done.returncode == 2
    assert "public" in done.stderr
    assert set(hub.repo("models", "tester/public").files()) == {".gitattributes"}
