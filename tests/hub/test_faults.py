"""Faults of the Hub: each ends in one sentence that says what to do and a non-zero exit status.

Afterwards the same push, or a load with the same cache, must work, once the fault is gone.
"""

import pytest

from helpers.hub_cases import CASES, Outcome, local_files, model_files, play_all
from helpers.hub_client import TOKENS, HubUser
from helpers.hub_server import WRONG_TOKEN, Fault


@pytest.fixture(scope="module")
def outcomes(hub, tmp_path_factory) -> dict[str, Outcome]:
    return play_all(hub, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", CASES)
def test_a_fault_of_the_hub_ends_in_one_sentence_that_says_what_to_do(outcomes, name):
    done = outcomes[name].first
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


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.mended])
def test_when_the_fault_of_the_hub_is_gone_the_same_cache_works(outcomes, name):
    done = outcomes[name].second
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CASES)
def test_a_fault_of_the_hub_changes_no_local_result_and_no_token_is_written_anywhere(outcomes, name):
    outcome = outcomes[name]
    assert outcome.untouched
    for path, content in local_files(outcome.home).items():
        assert not any(token.encode() in content for token in TOKENS), path


def test_a_wrong_token_for_the_hub_is_found_before_the_training(hub, tmp_path):
    user = HubUser(hub, tmp_path / "cache", WRONG_TOKEN)
    options = ["--dataset", tmp_path, "--output-dir", tmp_path / "out", "--push-to-hub", "tester/early"]
    done = user.python("train.py", *options, check=False)
    assert done.returncode == 2
    assert "tester/early cannot be pushed to: the Hub refused your token (401)" in done.stderr


def test_a_model_in_the_cache_is_used_while_the_hub_is_down(hub, tmp_path):
    model_files(tmp_path / "model")
    hub.create("models", "tester/down", local_files(tmp_path / "model"))
    user = HubUser(hub, tmp_path / "cache")
    before = user.logits("tester/down")
    with_fault = Fault("tester/down", 503)
    hub.faults.append(with_fault)
    assert user.logits("tester/down", HF_HUB_OFFLINE="0") == before
    hub.faults.remove(with_fault)


def test_a_card_of_the_hub_that_cannot_be_read_anew_is_not_replaced_by_an_old_one(hub, tmp_path):
    """The client would fall back to what is in the cache when the Hub answers 503."""
    model_files(tmp_path / "run" / "models")
    user = HubUser(hub, tmp_path / "cache")
    user.python("-m", "fer_model", "push", tmp_path / "run", "tester/stale")
    user.logits("tester/stale")
    user.python("-c", "from fer_model.hub_files import hub_card; hub_card('tester/stale')")
    repo = hub.repo("models", "tester/stale")
    repo.commit({"README.md": repo.files()["README.md"] + b"A sentence of mine.\n"})
    hub.faults.append(fault := Fault("HEAD /tester/stale/resolve/.*README", 503))
    done = user.python("-m", "fer_model", "push", tmp_path / "run", "tester/stale", check=False)
    hub.faults.remove(fault)
    assert done.returncode == 2
    assert b"A sentence of mine." in repo.files()["README.md"]


def test_what_somebody_writes_into_the_hub_card_during_an_upload_is_not_lost(hub, tmp_path):
    model_files(tmp_path / "run" / "models")
    repo = hub.create("models", "tester/meanwhile")

    def meanwhile(body: bytes) -> bytes:
        repo.commit({"README.md": b"Written at this moment.\n"})
        return body

    hub.faults.append(Fault("preupload", edit=meanwhile, times=1))
    user = HubUser(hub, tmp_path / "cache")
    done = user.python("-m", "fer_model", "push", tmp_path / "run", "tester/meanwhile", check=False)
    assert done.returncode == 2
    assert "somebody changed it at the same moment (412); try again" in done.stderr
    assert set(repo.files()) == {".gitattributes", "README.md"}
    user.python("-m", "fer_model", "push", tmp_path / "run", "tester/meanwhile")
    assert b"Written at this moment." in repo.files()["README.md"]


def test_a_private_push_into_a_public_hub_repository_is_refused(hub, tmp_path):
    model_files(tmp_path / "run" / "models")
    hub.create("models", "tester/public")
    command = ["-m", "fer_model", "push", tmp_path / "run", "tester/public", "--private"]
    done = HubUser(hub, tmp_path / "cache").python(*command, check=False)
    assert done.returncode == 2
    assert "public" in done.stderr
    assert set(hub.repo("models", "tester/public").files()) == {".gitattributes"}
