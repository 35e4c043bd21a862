"""A model of how PowerShell reads a quoted value, and a syntax check of whole scripts."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess

import pytest

# PowerShell's own rule: CharExtensions.IsSingleQuote. tree-sitter's grammar knows only the first.
QUOTES = "'\u2018\u2019\u201a\u201b"
_DECODED = re.compile(
    r"\(\[Text\.Encoding\]::Unicode\.GetString\("
    r"\[Convert\]::FromBase64String\('([A-Za-z0-9+/=]*)'\)\)\)"
)


def evaluate(expression: str) -> tuple[str, str]:
    """The value of one string expression as PowerShell sees it, and the text behind it."""
    decoded = _DECODED.match(expression)
    if decoded:
        data = base64.b64decode(decoded[1], validate=True)
        return data.decode("utf-16-le", "surrogatepass"), expression[decoded.end() :]
    assert expression[0] in QUOTES, expression
    value, at = "", 1
    while True:
        char = expression[at]
        if char in QUOTES:
            if at + 1 >= len(expression) or expression[at + 1] not in QUOTES:
                return value, expression[at + 1 :]
            at += 1
        value += char
        at += 1


def syntax_errors(script: str) -> list[str]:
    """What tree-sitter's grammar, and pwsh where there is one, do not understand."""
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip("tree_sitter_powershell")
    data = script.encode()
    tree = tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(data)
    found, todo = [], [tree.root_node]
    while todo:
        node = todo.pop()
        if node.is_error or node.is_missing:
            found.append(data[max(0, node.start_byte - 40) : node.end_byte + 40].decode())
        todo.extend(node.children)
    return found + _pwsh_errors(script)


def _pwsh_errors(script: str) -> list[str]:
    pwsh = shutil.which("pwsh") or shutil.which("powershell")
    if not pwsh:
        return []
    command = (
        "$e = $null; [void][System.Management.Automation.Language.Parser]::ParseInput("
        "[Console]::In.ReadToEnd(), [ref]$null, [ref]$e); $e | ForEach-Object { $_.Message }"
    )
    done = subprocess.run(
        [pwsh, "-NoProfile", "-NonInteractive", "-Command", command],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()
