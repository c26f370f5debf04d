"""The parser's errors as problems: code, message, hint and place.

`problem` and `context` of its errors are fixed phrases of libyaml; its own text may quote the file.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# Between brackets, behind a word that has no quotes.
COLON_IN_BRACKETS = "found unexpected ':'"
COLON_TOO_MANY = "mapping values are not allowed in this context"
NOT_A_START = "found character that cannot start any token"
_HINTS = {
    COLON_TOO_MANY: "quote a value that contains ': ', and check the indentation",
    NOT_A_START: "quote a value that starts with @, ` or %",
    "did not find expected key": "check the indentation and the quotes in this line and the one before",
    "could not find expected ':'": "write it as key: value",
    "found unexpected end of stream": "a quote or a bracket is not closed",
    "did not find expected ',' or ']'": "close the list with ]",
    "did not find expected ',' or '}'": "close the mapping with }",
    "did not find expected alphabetic or numeric character": "quote a string that starts with * or &",
    COLON_IN_BRACKETS: "put a space after the colon, or quote the string",
    "found unknown directive name": "remove the line",
    "found incompatible YAML document": "remove the line",
}
_DOCUMENT_START = "did not find expected <document start>"
# Syntax in these phrases is refused anyway.
_FORBIDDEN = ("tag", "directive", "incompatible YAML document")


class Fault(NamedTuple):
    """One fault of the syntax; line and column are 1-based."""

    code: str
    message: str
    hint: str
    line: int
    column: int


def described_error(error: Any, *, only_document: bool) -> Fault:
    """The fault that a parser's error is.

    `only_document` tells whether the error came inside the one document of a text: neither after directives
    without a document, nor after a document's end.
    """
    phrase = getattr(error, "problem", None) or "cannot be read"
    context = getattr(error, "context", None)
    marks = [getattr(error, "problem_mark", None), getattr(error, "context_mark", None)]
    if phrase.startswith("did not find expected ',' or") or phrase == "found unexpected end of stream":
        marks.reverse()  # what was opened and never closed, not the end of the file
    mark = marks[0] or marks[1]
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if phrase == _DOCUMENT_START:
        return _document_start(line, column, only_document=only_document)
    code = "yaml-forbidden" if any(word in phrase for word in _FORBIDDEN) else "yaml-syntax"
    hint = _HINTS.get(phrase)
    if hint is None and context:
        phrase = f"{phrase}, {context}"
    return Fault(code, phrase, hint or "", line, column)


def _document_start(line: int, column: int, *, only_document: bool) -> Fault:
    if only_document:
        return Fault("yaml-syntax", "a value without a key", "this file is YAML: write key: value", line, column)
    message = "directives (%) and second documents are not allowed here"
    return Fault("yaml-forbidden", message, "keep one document, without lines that start with %", line, column)
