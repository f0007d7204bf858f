"""A head written for one endpoint is the same for another, but for base path and Host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.endpoint import Endpoint
from gateway.proxy.request_head import readdressed
from gateway.proxy.response_head import ResponseRules

BASES = st.sampled_from(["", "/a", "/a/b", "/api"])
URLS = st.builds(lambda host, base: f"http://{host}{base}", st.sampled_from(["one.test", "two.test:81"]), BASES)


def head(method: str, base: str, path: str, host: str, rest: str) -> bytes:
    return f"{method} {base}{path} HTTP/1.1\r\nHost: {host}\r\n{rest}\r\n".encode("latin-1")


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "M-SEARCH"]),
    path=st.from_regex(r"/[a-z/]{0,12}(\?[a-z= /]{0,8})?", fullmatch=True).map(lambda text: text.replace(" ", "+")),
    rest=st.sampled_from(["", "X-A: 1\r\n", "X-A: Host: x\r\nX-B: http://one.test\r\n"]),
    keeps=st.booleans(),
    urls=st.tuples(URLS, URLS),
)
def test_only_base_path_and_host_differ(method: str, path: str, rest: str, keeps: bool, urls: tuple[str, str]) -> None:
    tried, other = (Endpoint(url, ResponseRules()) for url in urls)
    hosts = ["client.test"] * 2 if keeps else [tried.address.netloc, other.address.netloc]
    written = head(method, tried.address.base_path, path, hosts[0], rest)
    wanted = head(method, other.address.base_path, path, hosts[1], rest)
    assert readdressed(written, method, tried, other, keeps_host=keeps) == wanted
