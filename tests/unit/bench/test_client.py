"""The load generator against servers that behave in known ways."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from bench.client import Client
from bench.exchanges import HttpExchange, RefusedExchange
from bench.requests import get

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REQUESTS = [get("/")]


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket, int], bool]) -> Iterator[int]:
    """A server of one connection after the other; `answer(connection, number)` answers a request, False ends it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, answer), daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def _serve(listener: socket.socket, answer: Callable[[socket.socket, int], bool]) -> None:
    number = 0
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(65536):
                    number += 1
                    if not answer(connection, number):
                        break


def good(connection: socket.socket, _: int) -> bool:
    connection.sendall(ANSWER)
    return True


def drive(port: int, exchange: type[HttpExchange] = HttpExchange, *, rate: float = 200, seconds: float = 0.3):
    with contextlib.closing(Client(port, REQUESTS, exchange, 1)) as client:
        return client.open_loop(rate, seconds)


def test_every_request_of_a_fixed_rate_is_sent_and_answered() -> None:
    with serving(good) as port:
        outcome = drive(port)
    assert outcome.errors == 0
    assert 30 < len(outcome.latencies) < 90


def test_what_was_due_is_sent_though_late_and_the_same_seed_is_as_much() -> None:
    def slow(connection: socket.socket, number: int) -> bool:
        threading.Event().wait(0.005)
        return good(connection, number)

    with serving(good) as port:
        prompt = drive(port, rate=400)
    with serving(slow) as port:
        late = drive(port, rate=400)
    assert len(late.latencies) == len(prompt.latencies)
    assert late.errors == 0


def test_a_stall_is_charged_to_every_request_that_was_due_meanwhile() -> None:
    stalled = threading.Event()

    def stall_once(connection: socket.socket, number: int) -> bool:
        if number == 1:
            stalled.wait(0.2)
        return good(connection, number)

    with serving(stall_once) as port:
        outcome = drive(port)
    # A closed loop would show one slow answer; some 40 were due in those 0.2 s, half of them for more than 0.1 s.
    assert sum(latency > 0.1 for latency in outcome.latencies) > 8


def test_a_closed_loop_sends_as_fast_as_answers_come() -> None:
    with serving(good) as port, contextlib.closing(Client(port, REQUESTS, HttpExchange, 1)) as client:
        outcome = client.closed_loop(0.2)
    assert outcome.errors == 0
    assert len(outcome.latencies) > 20


def test_another_status_is_a_wrong_answer() -> None:
    with serving(good) as port:
        outcome = drive(port, RefusedExchange)
    assert outcome.wrong == len(outcome.latencies) > 0


def test_a_connection_that_ends_instead_of_an_answer_is_counted_and_replaced() -> None:
    with serving(lambda connection, number: number != 3 and good(connection, number)) as port:
        outcome = drive(port)
    assert outcome.broken == 1
    assert len(outcome.latencies) > 3


def test_an_answer_may_come_in_parts() -> None:
    exchange = HttpExchange()
    exchange.begin()
    assert [exchange.feed(memoryview(ANSWER)[at : at + 1]) for at in range(len(ANSWER))] == [False] * 39 + [True]
    assert not exchange.failed
