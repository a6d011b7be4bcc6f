"""Errors of the Hugging Face Hub, the network and the disk, in one sentence that says what to do."""

import errno
import re

from huggingface_hub import constants, get_token
from huggingface_hub.utils import parse_ratelimit_headers

_CLIENTS = ("huggingface_hub", "httpx", "httpx2")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def explain(error: BaseException) -> str:
    """The cause and the remedy, without a full stop and without a token. Of an unknown error, its first line."""
    first_line = (str(error).strip().splitlines() or ["no message"])[0]
    return known_reason(error) or hide_token(f"{type(error).__name__}: {first_line.rstrip('.')}")


def known_reason(error: BaseException) -> str | None:
    """As `explain`; None for an error that is not of the Hub, the network or the disk.

    `huggingface_hub` and `datasets` wrap errors in each other, and the errors of HTTP, network, Xet and disk share no
    base class. So the chain of causes is searched, from the outermost, for one that is known.
    """
    chain = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) and deeper not in chain:
        chain.append(deeper)
    for link in chain:
        if sentence := _sentence(link):
            return hide_token(sentence)
    return None


def is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return True
    return "No space left on device" in str(error)  # how Rust libraries say it: safetensors, Xet


def hide_token(text: str) -> str:
    """`text` without anything that is or looks like a Hub token."""
    if token := get_token():
        text = text.replace(token, "hf_***")
    return re.sub(r"\bhf_[A-Za-z0-9]{20,}", "hf_***", text)


def _sentence(error: BaseException) -> str | None:
    # by name, since the client's httpx became httpx2; by module, since tarfile has a ReadError too
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.split(".")[0] in _CLIENTS}
    unreachable = "Couldn't reach" in str(error)  # all that `datasets` says
    if "OfflineModeIsEnabled" in kinds or unreachable and constants.HF_HUB_OFFLINE:
        return "it is not in the local cache and HF_HUB_OFFLINE is set; unset it, or load it once with the network on"
    response = getattr(error, "response", None)
    if status := getattr(response, "status_code", None):
        return _status_sentence(status, kinds, str(error), response)
    if is_disk_full(error):
        where = getattr(error, "filename", None) or constants.HF_HOME
        return f"the disk is full ({where}); make room, or set HF_HOME to a folder on another disk"
    if type(error).__name__ == "XetAuthenticationError":  # a PermissionError too
        return "the Hub's storage refused your token; try again, and log in anew with `hf auth login` if it goes on"
    if isinstance(error, PermissionError):
        return f"{error.filename or constants.HF_HOME} may not be written; change its owner, or set HF_HOME"
    if "Consistency check failed" in str(error) or kinds & {"RemoteProtocolError", "ReadError", "WriteError"}:
        return "the connection was cut in the middle; try again"
    if "TooManyRedirects" in kinds:
        return f"{constants.ENDPOINT} sends requests in a circle; check HF_ENDPOINT if you set it, or try again later"
    if "Invalid metadata in README.md" in str(error):
        return "the Hub does not accept the card's front matter: " + " ".join(str(error).split()[4:]).rstrip(".")
    # the errors of httpx, of `datasets`, and of Python and hf_xet
    if kinds & {"ConnectError", "TimeoutException"} or unreachable or _is_network_error(error):
        return f"{constants.ENDPOINT} cannot be reached; check the network, and HF_ENDPOINT if you set it"
    if "HFValidationError" in kinds:
        return "that is no Hub id, which has the form user/name"
    return None


def _is_network_error(error: BaseException) -> bool:
    xet = isinstance(error, RuntimeError) and re.search(r"CAS Client Error|error sending request", str(error))
    return isinstance(error, ConnectionError | TimeoutError) or bool(xet)


def _status_sentence(status: int, kinds: set[str], text: str, response) -> str:
    said = response.headers.get("X-Error-Message", "")
    if "RevisionNotFoundError" in kinds:
        return "it has no such branch, tag or commit (404); check the revision"
    if "EntryNotFoundError" in kinds:
        return "it has no such file (404)"
    if "GatedRepoError" in kinds:
        return f"its owner wants to be asked for access ({status}); do so on its page on the Hub"
    if status == 401 and ("expired" in said or "Invalid credentials" in said or "Invalid user token" in text):
        return "the Hub refused your token (401); log in anew with `hf auth login`, or correct HF_TOKEN"
    if status == 401 or "RepositoryNotFoundError" in kinds:
        return f"the Hub has none that you may read ({status}); check the name, and `hf auth login` if it is private"
    if status == 403:
        return f"your token may not do this (403: {said.rstrip('.')}); `hf auth login` with one that may"
    if status == 412:
        return "somebody changed it at the same moment (412); try again"
    if status == 429:
        limit = parse_ratelimit_headers(response.headers)
        seconds = response.headers.get("Retry-After") or (limit and limit.reset_in_seconds)
        return f"the Hub asks to wait{f' {seconds} s' if seconds else ''} (429); try again then"
    if status >= 500:
        return f"the Hub has a problem of its own ({status}); try again later"
    return f"the Hub answered {status} ({said or 'no reason given'})"
