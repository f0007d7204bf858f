"""What kind of client a User-Agent names: family and platform, never the version."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

UNKNOWN: Final = "unknown"
# Rules are searched one after the other, so the time grows with the length, and whoever asks chooses the text.
_PARSED_CHARACTERS: Final = 256
_LONGEST_LABEL: Final = 64
_CACHED: Final = 4096

_PRODUCT: Final = re.compile(r"([A-Za-z][A-Za-z0-9._+-]{0,39})/")
_VERSION: Final = re.compile(r"[-_. ]*v?\d+(\.\d+)+.*", re.IGNORECASE)
_BROWSER_PREFIX: Final = "Mozilla/"

# The same browser calls itself differently with and without a keyboard; to its user it is one.
_FAMILIES: Final = {
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Edge Mobile": "Edge",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "IE Mobile": "IE",
    "Mobile Safari": "Safari",
    "Opera Mobile": "Opera",
    "Opera Mini": "Opera",
}
# A distribution's name comes and goes with the build of the browser; the machine stays the same.
_PLATFORMS: Final = {
    "Mac OS": "macOS",
    "Mac OS X": "macOS",
    "Debian": "Linux",
    "Fedora": "Linux",
    "Gentoo": "Linux",
    "Mageia": "Linux",
    "Mandriva": "Linux",
    "Mint": "Linux",
    "Red Hat": "Linux",
    "SUSE": "Linux",
    "Slackware": "Linux",
    "Ubuntu": "Linux",
}

Names = tuple[str | None, str | None]


def device_label(user_agent: str) -> str:
    """ "Firefox on Linux", "Chrome on iOS", "curl"; `unknown` when nothing can be made of it.

    A client that does not pose as a browser is called by its own product name, the first of its User-Agent.
    """
    return _label(user_agent[:_PARSED_CHARACTERS].strip())


@lru_cache(maxsize=_CACHED)
def _label(text: str) -> str:
    if not text:
        return UNKNOWN
    family, platform = _parser()(text)
    product = None if text.startswith(_BROWSER_PREFIX) else _PRODUCT.match(text)
    if product is not None:
        family = product[1]
    family = _clean(_FAMILIES.get(family or "", family or ""))
    platform = _clean(_PLATFORMS.get(platform or "", platform or ""))
    if not family or family == platform:
        return f"{UNKNOWN} on {platform}" if platform else UNKNOWN
    return f"{family} on {platform}" if platform else family


def preload() -> None:
    """Load and compile the rules (about 0.1 s, 3 MB), so that no log-in waits for it."""
    device_label("Mozilla/5.0")


@lru_cache(maxsize=1)
def _parser() -> Callable[[str], Names]:
    # Two of the three rule sets, compiled on first use. The resolvers in Rust and re2 are faster at a miss, but cost
    # tens of megabytes per worker; behind a cache that is a bad bargain.
    from ua_parser import BasicResolver, Domain, load_lazy_builtins

    families, platforms, _ = load_lazy_builtins()
    resolve = BasicResolver((families, platforms, []))
    wanted = Domain.USER_AGENT | Domain.OS

    def names(text: str) -> Names:
        found = resolve(text, wanted)
        family = found.user_agent.family if found.user_agent is not None else None
        platform = found.os.family if found.os is not None else None
        return family, platform

    return names


def _clean(name: str) -> str:
    """Names can be cut from the header itself: printable, without what looks like a version, bounded."""
    printable = "".join(c if c.isascii() and c.isprintable() else " " for c in name)
    return " ".join(_VERSION.sub("", printable).split())[:_LONGEST_LABEL]
