"""The sentences for errors that the tests' Hub cannot play: Xet's, Python's own, the real Hub's rarer answers."""

import errno

import httpx
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from fer_model.hub.errors import explain, hide_token, known_reason


class XetAuthenticationError(PermissionError):
    """Named as hf_xet's."""


def answer(status: int, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=names, request=httpx.Request("GET", "http://hub/x"))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("Task error: CAS Client Error: error sending request for url (http://cas)"), "cannot be reached"),
        (XetAuthenticationError("expired"), "hf auth login"),
        (ConnectionResetError("reset"), "cannot be reached"),
        (TimeoutError("timed out"), "cannot be reached"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "disk is full (/x)"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk is full"),
        (PermissionError(errno.EACCES, "denied", "/cache"), "/cache may not be written"),
        (ValueError('Invalid metadata in README.md.\n- "model-index[0]" is wrong'), '"model-index[0]" is wrong'),
        (HfHubHTTPError("x", response=answer(429, RateLimit='"api";r=0;t=55')), "wait 55 s"),
        (HfHubHTTPError("x", response=answer(401, X_Error_Message="Token is expired")), "log in anew"),
        (GatedRepoError("x", response=answer(403)), "asked for access"),
        (HfHubHTTPError("x", response=answer(418, X_Error_Message="teapot")), "418 (teapot)"),
    ],
)
def test_errors_around_the_hub_are_explained(error, says):
    assert says in explain(error)
    try:
        raise ValueError("wrapped") from error
    except ValueError as wrapper:
        assert known_reason(wrapper) == explain(error)


def test_an_error_that_is_not_the_hubs_keeps_its_first_line():
    assert known_reason(KeyError("x")) is None
    assert explain(ValueError("first.\nsecond")) == "ValueError: first"


def test_tokens_of_the_hub_are_blotted_out(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "an-odd-token")
    text = "Bearer hf_abcdefghijklmnopqrstuvwxyz012345 and an-odd-token, with hf_transfer"
    assert hide_token(text) == "Bearer hf_*** and hf_***, with hf_transfer"
