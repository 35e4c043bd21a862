"""How an unfinished file is named: `.NAME.RANDOM.tmp`, which no listing shows and a sweep finds."""

from __future__ import annotations

import re
import secrets

_RANDOM_BYTES = 8
_MAX_STEM = 255 - len("..") - 2 * _RANDOM_BYTES - len(".tmp")
_TEMP = re.compile(rf"\..+\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\.tmp", re.DOTALL)


def temp_name(name: str) -> str:
    """A new name for an unfinished file, at most 255 bytes."""
    stem = name.encode()[:_MAX_STEM].decode(errors="ignore")
    return f".{stem}.{secrets.token_hex(_RANDOM_BYTES)}.tmp"


def is_temp(name: str) -> bool:
    """Whether a file is one of ours, unfinished."""
    return _TEMP.fullmatch(name) is not None
