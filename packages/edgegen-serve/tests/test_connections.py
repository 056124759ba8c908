"""Clients that hold a connection without using it."""

from __future__ import annotations

import json
import socket
import time

import pytest
from live_server import until

from edgegen_serve.http.connection import Connection
from edgegen_serve.openai.responses import event

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def impatient(serve, monkeypatch):
    monkeypatch.setattr(Connection, "patience", 0.3)
    return serve(timeout=1.5, max_body=1000)


def connect(live):
    host, port = live.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def rest(connection):
    """All that comes until the connection is closed."""
    received = b""
    try:
        while piece := connection.recv(10_000):
            received += piece
    except ConnectionResetError:
        pass
    return received


def until_ends_with(connection, end):
    received = b""
    while not received.endswith(end):
        piece = connection.recv(10_000)
        assert piece, received
        received += piece
    return received


def trickle(connection, byte):
    """Send a byte now and then, which should win no time."""
    for _ in range(200):
        connection.sendall(byte)
        time.sleep(0.05)


def test_a_head_that_never_ends_is_not_waited_for(impatient):
    with connect(impatient) as silent, connect(impatient) as slow:
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            trickle(slow, b"G")
        assert time.monotonic() - began < 5
        assert rest(silent) == b""
    until(lambda: not impatient.server.server_state.connections)


def test_the_head_of_a_second_request_neither(impatient):
    with connect(impatient) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b'"status":"ok"' in until_ends_with(slow, b"}")
        slow.sendall(b"GET /health HT")
        assert rest(slow) == b""


def test_a_body_that_never_ends_is_refused_when_the_time_is_up(impatient):
    with connect(impatient) as slow:
        slow.sendall(HEAD + b"Content-Length: 500\r\n\r\n{")
        reply = rest(slow)
        assert reply.startswith(b"HTTP/1.1 408")
        assert b'"code":"timeout"' in reply


def test_the_rest_of_a_refused_body_is_not_waited_for(impatient):
    with connect(impatient) as slow:
        slow.sendall(HEAD + b"Content-Length: 5000\r\n\r\n{")
        assert slow.recv(10_000).startswith(b"HTTP/1.1 413")
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            trickle(slow, b" ")
        assert time.monotonic() - began < 5


def test_an_answer_longer_than_the_patience_comes_whole(impatient, ask):
    impatient.say("the lazy dog")
    impatient.puppet.hold()
    body = json.dumps(ask(stream=True)).encode()
    with connect(impatient) as slow:
        slow.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        impatient.wait_for_load(1, 0)
        time.sleep(0.5)
        impatient.puppet.let()
        assert b"[DONE]" in until_ends_with(slow, b"0\r\n\r\n")


def test_who_reads_nothing_is_given_up(impatient, ask, monkeypatch):
    """Its answers, long ones here, fill the buffers of both sides, and nothing takes them."""
    monkeypatch.setattr("edgegen_serve.http.endpoint.event", lambda payload: event(payload) + b":" * 500_000 + b"\n\n")
    body = json.dumps(ask(stream=True, logit_bias={"1": -100})).encode()
    with connect(impatient) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: impatient.scheduler.load == (1, 0) or impatient.puppet.calls > 0)
        impatient.wait_for_load(0, 0)
        until(lambda: not impatient.server.server_state.connections)
        until(lambda: not impatient.server.server_state.tasks)
