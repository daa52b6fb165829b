"""Python's http.client and the package websockets against the program.

Prints "ok NAME" or "not ok NAME: WHY" for each check, and "done" at the end.
"""

import asyncio
import hashlib
import http.client
import json
import sys
import time
from urllib.parse import urlsplit

import websockets

base = urlsplit(sys.argv[1])
MIB = 1 << 20


def connect():
    return http.client.HTTPConnection(base.hostname, base.port, timeout=60)


def ask(c, method, path, body=None, **headers):
    c.request(method, path, body=body, headers=headers)
    r = c.getresponse()
    return r, r.read()


def state():
    return json.loads(ask(connect(), "GET", "/state")[1])


def same(got, want):
    if got != want:
        raise AssertionError(f"got {got!r}, want {want!r}")


def eventually(what, ok):
    deadline = time.monotonic() + 30
    while not ok():
        if time.monotonic() > deadline:
            raise AssertionError("not within 30s: " + what)
        time.sleep(0.02)


def http_keep_alive():
    """100 requests of all kinds on one connection."""
    c = connect()
    c.connect()
    socket = c.sock
    for i in range(100):
        path = ["/file?n=5000&control=max-age=60", "/file?n=5000", "/chunked?n=20000", "/echo"][i % 4]
        r, body = ask(c, "GET", path)
        same(r.status, 200)
        if "X-Sha256" in r.headers:
            same(hashlib.sha256(body).hexdigest(), r.headers["X-Sha256"])
        if c.sock is not socket:
            raise AssertionError(f"request {i} came on another connection")


def http_chunked_request():
    piece = bytes(range(256)) * 256
    c = connect()
    for _ in range(3):
        r, body = ask(c, "POST", "/echo", body=(piece for _ in range(80)))
        same(r.status, 200)
        got = json.loads(body)
        same((got["length"], got["sha256"]), (80 * len(piece), hashlib.sha256(piece * 80).hexdigest()))


def http_head():
    c = connect()
    for path in ["/file?n=7000&control=max-age=60", "/file?n=7000"]:
        r, body = ask(c, "HEAD", path)
        same((r.status, r.headers["Content-Length"], body), (200, "7000", b""))
        r, body = ask(c, "GET", path)
        same((r.status, len(body)), (200, 7000))


def http_trailers():
    """http.client ignores them: the body is whole and the connection good."""
    if not state()["trailers"]:
        return
    c = connect()
    for _ in range(3):
        r, body = ask(c, "GET", "/trailers")
        same((r.status, hashlib.sha256(body).hexdigest()), (200, r.headers["X-Sha256"]))


def http_abort():
    before = state()["aborts"]
    c = connect()
    c.request("GET", "/endless")
    r = c.getresponse()
    same(len(r.read(MIB)), MIB)
    r.close()
    c.close()
    eventually("the application sees the end of the download", lambda: state()["aborts"] > before)


def http_events():
    c = connect()
    r, body = ask(c, "GET", "/events", **{"Last-Event-ID": "7"})
    same(r.headers["Content-Type"].split(";")[0], "text/event-stream")
    same([line for line in body.decode().split("\n") if line.startswith("data")], [f"data: event {i}" for i in (8, 9, 10)])


def socket():
    # close_timeout: the application ends the connection after the closing handshake, and
    # that has to reach the client, which else waits (RFC 6455 section 7.1.1).
    return websockets.connect(f"ws://{base.netloc}/ws", max_size=None, close_timeout=25)


async def ws_echo():
    async with socket() as ws:
        for message in ["", "text", "ä" * (MIB // 2), b"", b"\x00\xff", bytes(range(256)) * (MIB // 256)]:
            await ws.send(message)
            if await ws.recv() != message:
                raise AssertionError(f"a message of {len(message)} came back changed")


async def ws_ping():
    async with socket() as ws:
        for _ in range(3):
            await asyncio.wait_for(await ws.ping(), 30)


async def ws_close_by_client():
    before = state()["closes"].count(4002)
    async with socket() as ws:
        await ws.send("x")
        await ws.recv()
        await ws.close(4002, "client")
    eventually("the application gets code 4002", lambda: state()["closes"].count(4002) > before)


async def ws_close_by_application():
    async with socket() as ws:
        await ws.send("close")
        try:
            await ws.recv()
        except websockets.ConnectionClosed as e:
            same(e.code, 4001)
        else:
            raise AssertionError("a message in place of the close")


for name, check in list(globals().items()):
    if name.startswith(("http_", "ws_")):
        try:
            asyncio.run(asyncio.wait_for(check(), 20)) if asyncio.iscoroutinefunction(check) else check()
            print("ok", name)
        except Exception as e:  # the next checks go on
            print(f"not ok {name}: {type(e).__name__} {e}")
print("done")
