"""Bugs, how they are written down, and how one is planted in a copy of the headers."""

import shutil
from dataclasses import dataclass
from pathlib import Path

HEADERS = Path("include/eigennorm")


@dataclass(frozen=True)
class Bug:
    """At `place` of `file`, `old` becomes `new`. `number` counts bugs of a kind, from 1."""

    number: int
    name: str
    file: str
    place: int
    old: str
    new: str
    short: bool = False


def read_named(path, root):
    """The bugs of a file like tests/bugs/named.txt, each found where it says."""
    bugs = []
    for paragraph in path.read_text().split("\n\n"):
        words, old, new = {}, [], []
        for line in paragraph.splitlines():
            if line.startswith("-"):
                old.append(line[1:])
            elif line.startswith("+"):
                new.append(line[1:])
            elif line and not line.startswith("#"):
                key, _, value = line.partition(":")
                words[key] = value.strip()
        if not words and not old:
            continue
        if set(words) - {"bug", "file", "short"} or not {"bug", "file"} <= set(words) or not old:
            raise SystemExit(f"{path}: expected a bug, its file, what is there (-) and what shall be (+), got\n{paragraph}")
        bugs.append(_find(len(bugs) + 1, words, "\n".join(old), "\n".join(new), root))
    names = [bug.name for bug in bugs]
    for name in names:
        if names.count(name) > 1:
            raise SystemExit(f"{path}: expected different names, got twice: {name}")
    return bugs


def _find(number, words, old, new, root):
    text = (root / HEADERS / words["file"]).read_text()
    if text.count(old) != 1:
        raise SystemExit(f'{words["bug"]}: expected once in {words["file"]}, found {text.count(old)} times:\n{old}')
    return Bug(number, words["bug"], words["file"], text.index(old), old, new, "short" in words)


def read_equivalent(path):
    """Name of a bug -> why nobody can observe it."""
    reasons = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        if line and not line.startswith("#"):
            name, bar, reason = line.partition(" | ")
            if not bar or not reason.strip():
                raise SystemExit(f"{path}: expected the name of a bug, ' | ' and a reason, got\n{line}")
            reasons[name.strip()] = reason.strip()
    return reasons


def plant(bug, root, folder):
    """A copy of all headers below `folder`, with this bug. Returns what the compiler shall include."""
    include = folder / "include"
    shutil.copytree(root / "include", include)
    path = include / "eigennorm" / bug.file
    text = path.read_text()
    assert text[bug.place : bug.place + len(bug.old)] == bug.old
    path.write_text(text[: bug.place] + bug.new + text[bug.place + len(bug.old) :])
    return include
