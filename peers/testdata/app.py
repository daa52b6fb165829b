"""The FastAPI application of the tests with real peers; app.cjs is its twin."""

import asyncio
import gzip
import hashlib
import json
import os
import re
import sys

import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

app = FastAPI()
state = {"trailers": False, "aborts": 0, "closes": []}
reports = []


def text(size):
    """Each line of 16 bytes is its own position."""
    return "".join(f"{i:015d}\n" for i in range(0, size + 16, 16)).encode()[:size]


def head(request, body):
    return {
        "Cache-Control": request.query_params.get("control", "no-store"),
        "X-Sha256": hashlib.sha256(body).hexdigest(),
    }


@app.api_route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def echo(request: Request):
    digest, length = hashlib.sha256(), 0
    async for chunk in request.stream():
        digest.update(chunk)
        length += len(chunk)
    answer = {
        "method": request.method,
        "path": request.url.path,
        "query": request.url.query,
        "headers": dict(request.headers),
        "length": length,
        "sha256": digest.hexdigest(),
    }
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


@app.api_route("/file", methods=["GET", "HEAD"])
async def file(request: Request):
    body = text(int(request.query_params["n"]))
    headers = head(request, body)
    headers["ETag"] = '"%s"' % headers["X-Sha256"][:16]
    headers["Accept-Ranges"] = "bytes"
    part = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not part:
        return Response(body, media_type="text/plain", headers=headers)
    first, last = int(part[1]), min(int(part[2] or len(body)), len(body) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
    return Response(body[first : last + 1], 206, media_type="text/plain", headers=headers)


@app.get("/chunked")
async def chunked(request: Request):
    body = text(int(request.query_params["n"]))
    pieces = (body[i : i + 5000] for i in range(0, len(body), 5000))
    return StreamingResponse(pieces, media_type="text/plain", headers=head(request, body))


@app.get("/gzip")
async def compressed(request: Request):
    body = text(100_000)
    headers = head(request, body) | {"Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body)
    return Response(body, media_type="text/plain", headers=headers)


@app.get("/endless")
async def endless():
    async def pieces():
        try:
            while True:
                yield text(16 << 10)
                await asyncio.sleep(0)
        finally:
            state["aborts"] += 1

    return StreamingResponse(pieces(), media_type="text/plain", headers={"Cache-Control": "no-store"})


@app.get("/events")
async def events(request: Request):
    """Three events, and the end: a browser comes back for those after the last."""
    last = int(request.headers.get("last-event-id", 0))

    async def pieces():
        for i in range(last + 1, last + 4):
            yield f"retry: 20\nid: {i}\ndata: event {i}\n\n"

    return StreamingResponse(pieces(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            state["closes"].append(message["code"])
            return
        if message.get("text") == "close":
            await socket.close(4001)
            return
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])


@app.get("/state")
async def get_state():
    return JSONResponse(state | {"reports": reports}, headers={"Cache-Control": "no-store"})


@app.post("/report")
async def report(request: Request):
    reports.append(json.loads(await request.body()))
    return {}


@app.get("/page")
async def page():
    return FileResponse(os.path.join(os.path.dirname(__file__), "page.html"), headers={"Cache-Control": "no-store"})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
