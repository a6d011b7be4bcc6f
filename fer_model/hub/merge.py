"""Puts a freshly generated card into one that a person wrote in.

Generated text stands between markers, `<!-- generated: NAME -->` and `<!-- /generated: NAME -->`. Only that text is
rewritten. In the YAML front matter, the keys that a person added or changed stay.
"""

import re

import yaml

from fer_model.configs import DEFAULT_DATASET
from fer_model.errors import FERError

MEASURED_BY = "fer_model evaluate.py"
"""Tells our results in a card's model-index from those that other people entered."""

_SECTION = re.compile(r"<!-- generated: (\w+) -->.*?<!-- /generated: \1 -->", re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


def merged(old: str, new: str) -> str:
    """`old` with its generated parts replaced by those of the freshly rendered `new`.

    A section that `old` lacks goes after the one it follows in `new`. Tags are united. Results that other people
    entered in the model-index stay, and so does any other key that `old` has.
    """
    if not old.strip():
        return new
    before, after = _front(old), _front(new)
    changes = {key: value for key, value in after.items() if key not in before}
    changes["tags"] = _united(before.get("tags"), after.get("tags"))
    theirs = [name for name in _as_list(before.get("datasets")) if name != DEFAULT_DATASET]  # ours may hold no more
    changes["datasets"] = _united(theirs, after.get("datasets"))
    changes["model-index"] = _joined_index(before.get("model-index"), after.get("model-index"))
    return _rebuilt(old, changes, _sections(new))


def with_results(old: str, new: str) -> str:
    """`old` with the figures of `new`, in its model-index and in those of its generated sections that show figures."""
    if not old.strip():
        return new
    index = _joined_index(_front(old).get("model-index"), _front(new).get("model-index"))
    ours = {name: text for name, text in _sections(new).items() if name in ("intro", "results")}
    return _rebuilt(old, {"model-index": index}, {name: ours[name] for name in _sections(old) if name in ours})


def personal(text: str) -> str:
    """What a person wrote in a card's body: all text outside the generated sections."""
    return _SECTION.sub("", _FRONT_MATTER.sub("", text)).strip()


def _sections(text: str) -> dict[str, str]:
    return {match[1]: match[0] for match in _SECTION.finditer(text)}


def _rebuilt(old: str, changes: dict, sections: dict[str, str]) -> str:
    newline = "\r\n" if 2 * old.count("\r\n") > old.count("\n") else "\n"
    text = _with_sections(old.replace("\r\n", "\n"), sections)
    match = _FRONT_MATTER.match(text)
    front, body = (match[1], text[match.end() :]) if match else ("", "\n" + text)
    expected = {key: value for key, value in (_front(old) | changes).items() if value}
    front = _with_keys(front, {key: value for key, value in changes.items() if value != _front(old).get(key)})
    if {key: value for key, value in _front(f"---\n{front}---\n").items() if value} != expected:
        raise FERError(
            "The card's front matter, the YAML at its top, is written too unusually to be changed; simplify it."
        )
    return f"---\n{front}---\n{body}".replace("\n", newline)


def _with_sections(text: str, sections: dict[str, str]) -> str:
    match = _FRONT_MATTER.match(text)
    end = match.end() if match else 0  # where a missing section goes: after the one before it
    for name, section in sections.items():
        found = next((match for match in _SECTION.finditer(text) if match[1] == name), None)
        if found:
            text = text[: found.start()] + section + text[found.end() :]
            end = found.start() + len(section)
        else:
            before, after = text[:end].rstrip("\n"), text[end:].lstrip("\n")
            text = f"{before}\n\n{section}\n" + (f"\n{after}" if after else "")
            end = len(before) + 2 + len(section)
    return text


def _front(text: str) -> dict:
    """The YAML front matter as a dict; empty where there is none.

    Raises:
        FERError: it is not YAML, or not a mapping.
    """
    match = _FRONT_MATTER.match(text.replace("\r\n", "\n"))
    try:
        found = (yaml.safe_load(match[1]) or {}) if match else {}
    except yaml.YAMLError as error:
        found = error
    if not isinstance(found, dict):
        raise FERError("The card's front matter, between the lines --- at its top, is not a YAML mapping; mend it.")
    return found


def _with_keys(front: str, changes: dict) -> str:
    """The lines of `front` with some top-level keys set, or removed where the value is None or empty."""
    blocks: list[tuple[str | None, str]] = []  # (key, its lines); the key of comments and blank lines is None
    for line in front.splitlines(keepends=True):
        if line[0] in " \t-]}" and line.strip() and blocks:  # belongs to the last key, and so do comments in between
            key, lines = blocks.pop()
            while key is None and blocks:
                key, earlier = blocks.pop()
                lines = earlier + lines
            blocks.append((key, lines + line))
        else:
            match = re.match(r"""["']?([^\s#:"'][^:"']*)["']?\s*:""", line)
            blocks.append((match[1] if match else None, line))
    text = {
        key: yaml.safe_dump({key: v}, sort_keys=False, allow_unicode=True) if v else "" for key, v in changes.items()
    }
    present = {key for key, _ in blocks}
    kept = [text.get(key, lines) for key, lines in blocks]
    return "".join(kept + [block for key, block in text.items() if key not in present])


def _joined_index(old, new) -> list | None:
    """A model-index with our old results replaced by the new ones. Other people's stay."""
    entries = [dict(entry) for entry in old] if isinstance(old, list) and old else []
    for entry in entries:
        entry["results"] = [result for result in entry.get("results") or [] if not _is_ours(result)]
    if new:
        if not entries:
            entries = [{"name": new[0]["name"], "results": []}]
        entries[0]["results"] = new[0]["results"] + entries[0]["results"]
    return [entry for entry in entries if entry["results"]] or None


def _is_ours(result: dict) -> bool:
    return ((result.get("dataset") or {}).get("args") or {}).get("measured_by") == MEASURED_BY


def _as_list(value) -> list:
    return value if isinstance(value, list) else [value] if value else []


def _united(first, second) -> list:
    return list(dict.fromkeys([*_as_list(first), *_as_list(second)]))
