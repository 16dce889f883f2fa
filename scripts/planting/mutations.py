"""Mechanical bugs: another operator, a constant one larger, a bound one smaller."""

import hashlib
import re

from .bugs import HEADERS, Bug

OPERATORS = {
    "+": "-", "-": "+", "*": "/", "/": "*", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
    "==": "!=", "!=": "==", "&&": "||", "||": "&&",
}  # fmt: skip
# With blanks around: so neither a pointer, nor a sign, nor a list of template arguments.
OPERATOR = re.compile(r"(?<= )(?:<=|>=|==|!=|&&|\|\||[-+*/<>])(?=[ \n])")
CONSTANT = re.compile(r"(?<![\w.])[012](?![\w.])")
# Where it is read: behind an operator, a comma or a parenthesis, and not followed by what makes it a name only.
BOUND = re.compile(r"(?<=[-+*/<>=?:,(%]) ?\b(n|last|count|rows|lanes|length)\b(?=[ ,;)\]])(?! (?:=|\+=|-=) )")
STATIC_ASSERT = re.compile(r"\bstatic_assert\b")


def code_of(text):
    """The same text, with blanks in place of comments, strings, the preprocessor's lines and static_assert."""
    code, i = list(text), 0

    def blank(begin, end):
        for k in range(begin, end):
            if code[k] != "\n":
                code[k] = " "

    while i < len(text):
        if text.startswith("//", i):
            end = _find(text, "\n", i)
        elif text.startswith("/*", i):
            end = _find(text, "*/", i) + 2
        elif text[i] in "\"'" and not (text[i] == "'" and text[i - 1].isalnum()):
            end = i + 1
            while text[end] != text[i]:
                end += 2 if text[end] == "\\" else 1
            end += 1
        elif text[i] == "#" and not text[text.rfind("\n", 0, i) + 1 : i].strip():
            end = _find(text, "\n", i)
            while text[end - 1] == "\\":
                end = _find(text, "\n", end + 1)
        else:
            i += 1
            continue
        blank(i, end)
        i = end
    rest = "".join(code)
    for found in STATIC_ASSERT.finditer(rest):
        blank(found.start(), _find(rest, ";", found.start()))
    return "".join(code)


def _find(text, what, start):
    place = text.find(what, start)
    return len(text) if place < 0 else place


def candidates(root, compiled_lines, seed):
    """All mechanical bugs on lines that are compiled, in an order that the seed draws and that a change of other lines does
    not change. `compiled_lines`: file -> numbers of lines, from 1."""
    found, names = [], set()
    for path in sorted((root / HEADERS).rglob("*")):
        file = str(path.relative_to(root / HEADERS))
        if file not in compiled_lines:
            continue
        text = path.read_text()
        for place, old, new in sorted(_changes(code_of(text))):
            if text.count("\n", 0, place) + 1 in compiled_lines[file]:
                name = _new_name(names, file, text, place, old, new)
                found.append((name, file, place, old, new))
    found.sort(key=lambda each: hashlib.sha256(f"{seed} {each[0]}".encode()).digest())
    return [Bug(number, *each) for number, each in enumerate(found, 1)]


def _new_name(names, file, text, place, old, new):
    """The line with its change, so that a name outlives changes of other lines."""
    begin, end = text.rfind("\n", 0, place) + 1, _find(text, "\n", place)
    changed = f"{text[begin:place]}[{old} -> {new}]{text[place + len(old) : end]}".strip()
    name, again = f"{file}: {changed}", 1
    while name in names:
        again += 1
        name = f"{file}: {changed} ({again})"
    names.add(name)
    return name


def _changes(code):
    for found in OPERATOR.finditer(code):
        yield found.start(), found.group(), OPERATORS[found.group()]
    for found in CONSTANT.finditer(code):
        yield found.start(), found.group(), str(int(found.group()) + 1)
    for found in BOUND.finditer(code):
        yield found.start(1), found.group(1), f"({found.group(1)} - 1)"
