"""Takes secrets out of text that somebody else wrote: messages and tracebacks of libraries, odd header values."""

from __future__ import annotations

import re

REDACTED = "[redacted]"

_SECRETS = re.compile(
    r"(?P<keep>\b(?:bearer|basic|dpop)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|\bgwr_[A-Za-z0-9_-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)*"
    r"|(?P<userinfo>://)[^\s/?#@'\"]+@"
    r"|(?P<field>\b(?:(?:set-)?cookie|(?:proxy-)?authorization)['\"]?\s*[:=]\s*)[^\r\n]+"
    r"|(?P<name>\b(?:[a-z_]*(?:password|secret|token)|code)['\"]?\s*[:=]\s*['\"]?)(?!\[redacted\])[^\s'\",;&}]+"
    r"|(?P<query>(?:/|\bhttps?://)[^\s?#'\"]*\?)[^\s'\"]+",
    re.IGNORECASE,
)


def scrub(text: str) -> str:
    """`text` without tokens, cookies, passwords, credentials in URLs and query strings."""
    return _SECRETS.sub(_replace, text)


def _replace(match: re.Match[str]) -> str:
    kept = next((part for part in match.groups() if part is not None), "")
    return kept + REDACTED + ("@" if match["userinfo"] else "")
