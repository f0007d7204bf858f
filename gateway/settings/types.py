"""The kinds of values a configuration holds: each checks its own shape and says in plain words what is wrong."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StrictBool, StrictInt, WithJsonSchema

from gateway.settings import units

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\.?", re.ASCII)
_PATH = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-F]{2})*", re.ASCII)
_BEARER = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)  # RFC 6750 2.1
MIN_ADMIN_TOKEN = 32
MAX_ADMIN_TOKEN = 512
_LONGEST_SOCKET = 107  # sun_path of unix(7), less its end
_UNRESERVED = re.compile(r"%(?:2D|2E|5F|7E|3[0-9]|4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9A])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Secret:
    """Marks a text that can hold a password: `config show` hides it, and `<key>_file` reads it from a file.

    `whole`: the text is nothing but the secret, so that all of it is hidden; otherwise it is a URL that may hold one.
    """

    whole: bool = False


def is_token(text: str) -> bool:
    """Whether `text` is an RFC 9110 token: what header and cookie names are made of."""
    return _TOKEN.fullmatch(text) is not None


def split_listen(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` in two; ValueError says what is wrong. An empty host means every interface."""
    if text.startswith("/"):
        raise ValueError(f"write unix:{text} for a unix socket")
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address to listen on: write host:port, such as 127.0.0.1:8080")
    if ":" in bare and not host.startswith("["):
        raise ValueError(f"put the IPv6 address in brackets: [{host}]:{port}")
    if host and ":" not in bare and not _HOST.fullmatch(bare.lower()):
        raise ValueError(f"{host!r} is neither a host name nor an address")
    if ":" in bare:
        ipaddress.IPv6Address(bare.partition("%")[0])
    return bare, int(port)


def unix_path(text: str) -> str | None:
    """The path in `unix:/path`; None when `text` is no unix socket. ValueError says what is wrong with the path."""
    if not text.startswith("unix:"):
        return None
    path = text.removeprefix("unix:")
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError("a unix socket is written unix:/absolute/path.sock")
    if len(path.encode()) > _LONGEST_SOCKET:
        raise ValueError(f"the path of a unix socket has at most {_LONGEST_SOCKET} bytes")
    return path


def _listen(text: str) -> str:
    if unix_path(text) is None:
        split_listen(text)
    return text


def _peer(text: str) -> str:
    return text if text == "unix" else _network(text)


def _file_mode(text: str) -> str:
    if not re.fullmatch("0?[0-7]{3}", text, re.ASCII):
        raise ValueError("permissions are three octal digits in quotes, such as '0660'")
    return text


def split_http_url(text: str, *, what: str) -> SplitResult:
    """An absolute http(s) URL without credentials, query or fragment; ValueError says which rule it breaks."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{what} is not a URL: {error}") from error
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise ValueError(f"{what} must not contain a user name or password")
    if any(ord(char) <= 32 or ord(char) >= 127 for char in text):
        raise ValueError(f"{what} contains blanks, control or non-ASCII characters")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{what} must be an absolute URL such as http://127.0.0.1:9000")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError(f"{what} has no usable port")
    if "?" in text or "#" in text:
        raise ValueError(f"{what} must not have a query or fragment")
    _check_host(parts.hostname, what)
    return parts


def _check_host(host: str, what: str) -> None:
    if ":" in host:
        ipaddress.IPv6Address(host)
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{what}: {host!r} is not a host name")


def _origin(text: str, what: str) -> str:
    parts = split_http_url(text, what=what)
    if parts.path not in {"", "/"}:
        raise ValueError(f"{what} must be scheme, host and port only, without a path")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in {None, default} else "")


def _public_url(text: str) -> str:
    return _origin(text, "the public URL")


def _allowed_origin(text: str) -> str:
    if text in {"*", "null"}:
        raise ValueError(f"{text!r} would allow every site: name the origins, such as https://app.example.com")
    return _origin(text, "an origin")


def _upstream_url(text: str) -> str:
    if text.startswith("unix:"):
        return _unix_url(text)
    parts = split_http_url(text, what="an upstream")
    if parts.path not in {"", "/"}:
        check_path(parts.path)
    return text


def _unix_url(text: str) -> str:
    path, _, base = text.removeprefix("unix://").partition(":")
    if not text.startswith("unix:///") or path == "/" or any(ord(char) <= 32 or ord(char) >= 127 for char in text):
        raise ValueError(
            "a unix socket is written unix:///path/of/socket, or with a base path unix:///path/of/socket:/base"
        )
    if len(path.encode()) > _LONGEST_SOCKET:
        raise ValueError(f"the path of a unix socket has at most {_LONGEST_SOCKET} bytes")
    if base or text.endswith(":"):
        check_path(base)
    return text


def check_path(text: str) -> str:
    """`text` if it is a path in the one spelling that requests are matched in; ValueError says what is not."""
    if not text.startswith("/"):
        raise ValueError("a path starts with /")
    if not _PATH.fullmatch(text):
        raise ValueError(
            "a path holds URL path characters only: no blanks, ?, #, ;, \\ or non-ASCII; percent-encode with "
            "upper-case hex digits"
        )
    if _UNRESERVED.search(text):
        raise ValueError("letters, digits and -._~ are written as they are, not percent-encoded: it would never match")
    if re.search(r"%(?:2F|5C|00|25)", text):
        raise ValueError("%2F, %5C, %00 and %25 are refused in requests: it would never match")
    if "//" in text or any(segment in {".", ".."} for segment in text.split("/")):
        raise ValueError("empty, . and .. segments are refused in requests: it would never match")
    return text


def _prefix(text: str) -> str:
    if not re.fullmatch(r"(?:/[A-Za-z0-9\-._~]+)+", text, re.ASCII) or any(
        part in {".", ".."} for part in text.split("/")
    ):
        raise ValueError("must start with / and not end with it, such as /auth, and hold letters, digits and -._~ only")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=True))
    except ValueError as error:
        try:
            right = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is not an address or a CIDR such as 10.0.0.0/8") from error
        raise ValueError(f"{text!r} has host bits set: write {right}") from error


def _host_name(text: str) -> str:
    if "://" in text or "/" in text:
        raise ValueError("a host is a name only, without scheme and path")
    if ":" in text:
        raise ValueError("a host is matched without its port")
    if not _HOST.fullmatch(text.lower()):
        raise ValueError(f"{text!r} is not a host name")
    return text.lower().removesuffix(".")


def _host_rule(text: str) -> str:
    if text.startswith("*."):
        return "*." + _host_name(text[2:])
    if "*" in text:
        raise ValueError("a wildcard stands for whole names in front: *.example.com")
    return _host_name(text)


def _method(text: str) -> str:
    if not is_token(text):
        raise ValueError(f"{text!r} is not an HTTP method")
    if text != text.upper():
        raise ValueError(f"methods are case-sensitive: write {text.upper()}")
    if text in {"CONNECT", "TRACE"}:
        raise ValueError(f"{text} is never forwarded")
    return text


def _header_name(text: str) -> str:
    if not is_token(text):
        raise ValueError(f"{text!r} is not a header name")
    return text


def _header_value(text: str) -> str:
    if not text or text != text.strip() or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("a header's value is one line without control characters or blanks around it")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError("a header's value must be valid UTF-8") from None
    if size > 4096:
        raise ValueError("a header's value is at most 4096 bytes")
    return text


def _cookie_name(text: str) -> str:
    if not is_token(text):
        raise ValueError("a cookie name holds letters, digits and !#$%&'*+-.^_`|~ only")
    if text.lower().startswith(("__host-", "__secure-")):
        raise ValueError("leave the prefix out: the gateway adds __Host- or __Secure- itself")
    return text


def _role(text: str) -> str:
    if not text or "," in text or text != text.strip() or not text.isprintable():
        raise ValueError("a role is a word without commas, control characters or blanks around it")
    return text


def _route_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text, re.ASCII):
        raise ValueError(
            "a route's name holds letters, digits and ._- only, 63 at most, and starts with a letter or digit"
        )
    return text


def _printable(text: str) -> str:
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("must not be empty, nor hold control characters or blanks around it")
    return text


def _admin_token(text: str) -> str:
    # Never the text itself: it stands in messages otherwise.
    if len(text) < MIN_ADMIN_TOKEN:
        raise ValueError(f"must have at least {MIN_ADMIN_TOKEN} characters: make one with openssl rand -hex 32")
    if len(text) > MAX_ADMIN_TOKEN or not _BEARER.fullmatch(text):
        raise ValueError(
            "holds letters, digits and -._~+/ only, with = at its end, and 512 characters at most: what an"
            " Authorization header can carry"
        )
    return text


def _collector_url(text: str) -> str:
    parts = split_http_url(text, what="the endpoint")
    return text if parts.path not in {"", "/"} else text.rstrip("/") + "/v1/traces"


def split_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """`name=value,name=value`, values percent-encoded, as OTEL_EXPORTER_OTLP_HEADERS holds them; ValueError says which
    part is wrong, and none of the values.
    """
    pairs = []
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or not is_token(name.strip()):
            raise ValueError("headers are written name=value,name=value, with values percent-encoded")
        try:
            pairs.append((name.strip(), _header_value(unquote(value.strip(), errors="strict"))))
        except UnicodeDecodeError:
            raise ValueError("a header's value must be valid UTF-8") from None
    if any(not value.isascii() for _, value in pairs):
        raise ValueError("a header for the collector must be ASCII")
    return tuple(pairs)


def _pairs(text: str) -> str:
    split_pairs(text)
    return text


def _ratio(value: object) -> object:
    if isinstance(value, str):  # from the environment
        with suppress(ValueError):  # refused below, in words
            value = float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ValueError("must be a number between 0 and 1")


def _workers(value: object) -> object:
    if value == "auto":
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError("must be a whole number of at least 1, or auto")


Flag = StrictBool
Workers = Annotated[
    int,
    BeforeValidator(_workers),
    PlainSerializer(lambda count: count or "auto", when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]
Count = Annotated[StrictInt, Field(ge=0)]
Status = Annotated[StrictInt, Field(ge=200, le=599)]
Duration = Annotated[
    float,
    BeforeValidator(units.parse_duration),
    PlainSerializer(units.format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": units.DURATION_PATTERN}, {"const": 0}]}),
]
Size = Annotated[
    int,
    BeforeValidator(units.parse_size),
    PlainSerializer(units.format_size, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": units.SIZE_PATTERN}, {"const": 0}]}),
]
Text = Annotated[str, AfterValidator(_printable)]
AdminToken = Annotated[
    str,
    AfterValidator(_admin_token),
    WithJsonSchema({"type": "string", "minLength": MIN_ADMIN_TOKEN, "maxLength": MAX_ADMIN_TOKEN}),
]
Ratio = Annotated[float, BeforeValidator(_ratio), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
Pairs = Annotated[str, AfterValidator(_pairs)]
CollectorUrl = Annotated[str, AfterValidator(_collector_url)]
ListenAddress = Annotated[str, AfterValidator(_listen)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
AllowedOrigin = Annotated[str, AfterValidator(_allowed_origin)]
UpstreamUrl = Annotated[str, AfterValidator(_upstream_url)]
Prefix = Annotated[str, AfterValidator(_prefix)]
RoutePath = Annotated[str, AfterValidator(check_path)]
Peer = Annotated[str, AfterValidator(_peer)]
FileMode = Annotated[str, AfterValidator(_file_mode)]
Network = Annotated[str, AfterValidator(_network)]
HostName = Annotated[str, AfterValidator(_host_name)]
HostRule = Annotated[str, AfterValidator(_host_rule)]
Method = Annotated[str, AfterValidator(_method)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
CookieName = Annotated[str, AfterValidator(_cookie_name)]
Role = Annotated[str, AfterValidator(_role)]
RouteName = Annotated[str, AfterValidator(_route_name)]
