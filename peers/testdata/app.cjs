// The Node application of the tests with real peers; app.py is its twin.
"use strict";
const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const zlib = require("node:zlib");
const { WebSocketServer } = require("ws");

const state = { trailers: true, aborts: 0, closes: [] };
const reports = [];
const sha256 = (body) => crypto.createHash("sha256").update(body).digest("hex");

// Each line of 16 bytes is its own position.
function text(size) {
  let s = "";
  for (let i = 0; i < size; i += 16) s += String(i).padStart(15, "0") + "\n";
  return Buffer.from(s).subarray(0, size);
}

function head(url, body) {
  return {
    "Content-Type": "text/plain",
    "Cache-Control": url.searchParams.get("control") ?? "no-store",
    "X-Sha256": sha256(body),
  };
}

function json(res, value) {
  res.writeHead(200, { "Content-Type": "application/json", "Cache-Control": "no-store" });
  res.end(JSON.stringify(value));
}

async function echo(req, res, url) {
  const digest = crypto.createHash("sha256");
  let length = 0;
  for await (const chunk of req) {
    digest.update(chunk);
    length += chunk.length;
  }
  json(res, {
    method: req.method, path: url.pathname, query: url.search.slice(1),
    headers: req.headers, length, sha256: digest.digest("hex"),
  });
}

function file(req, res, url) {
  const body = text(Number(url.searchParams.get("n")));
  const headers = head(url, body);
  headers["ETag"] = `"${headers["X-Sha256"].slice(0, 16)}"`;
  headers["Accept-Ranges"] = "bytes";
  const part = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? "");
  if (!part) {
    res.writeHead(200, { ...headers, "Content-Length": body.length });
    return res.end(body);
  }
  const first = Number(part[1]);
  const last = Math.min(part[2] === "" ? body.length : Number(part[2]), body.length - 1);
  headers["Content-Range"] = `bytes ${first}-${last}/${body.length}`;
  res.writeHead(206, { ...headers, "Content-Length": last - first + 1 });
  res.end(body.subarray(first, last + 1));
}

function chunked(req, res, url) {
  const body = text(Number(url.searchParams.get("n")));
  res.writeHead(200, head(url, body));
  for (let i = 0; i < body.length; i += 5000) res.write(body.subarray(i, i + 5000));
  res.end();
}

function compressed(req, res, url) {
  const body = text(100000);
  const headers = { ...head(url, body), Vary: "Accept-Encoding" };
  const gzip = (req.headers["accept-encoding"] ?? "").includes("gzip");
  if (gzip) headers["Content-Encoding"] = "gzip";
  res.writeHead(200, headers);
  res.end(gzip ? zlib.gzipSync(body) : body);
}

function endless(req, res) {
  const piece = text(16 << 10);
  let open = true;
  const send = () => {
    while (open && res.write(piece));
  };
  res.on("drain", send);
  res.on("close", () => {
    open = false;
    state.aborts++;
  });
  res.writeHead(200, { "Content-Type": "text/plain", "Cache-Control": "no-store" });
  send();
}

// Three events, and the end: a browser comes back for those after the last.
function events(req, res) {
  const last = Number(req.headers["last-event-id"] ?? 0);
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  for (let i = last + 1; i < last + 4; i++) res.write(`retry: 20\nid: ${i}\ndata: event ${i}\n\n`);
  res.end();
}

function trailers(req, res) {
  const body = text(10000);
  res.writeHead(200, { ...head(new URL("http://a/"), body), Trailer: "X-Checked" });
  res.write(body);
  res.addTrailers({ "X-Checked": "yes" });
  res.end();
}

async function report(req, res) {
  let body = "";
  for await (const chunk of req) body += chunk;
  reports.push(JSON.parse(body));
  json(res, {});
}

function page(req, res) {
  res.writeHead(200, { "Content-Type": "text/html", "Cache-Control": "no-store" });
  res.end(fs.readFileSync(path.join(__dirname, "page.html")));
}

const routes = {
  "/echo": echo, "/file": file, "/chunked": chunked, "/gzip": compressed, "/endless": endless,
  "/events": events, "/trailers": trailers, "/report": report, "/page": page,
  "/state": (req, res) => json(res, { ...state, reports }),
};

const server = http.createServer(async (req, res) => {
  const url = new URL(req.url, "http://localhost");
  const route = routes[url.pathname];
  try {
    if (route) await route(req, res, url);
    else res.writeHead(404).end();
  } catch (err) {
    res.destroy(err); // the client went away within its request
  }
});

new WebSocketServer({ server, path: "/ws" }).on("connection", (socket) => {
  socket.on("message", (data, binary) => {
    if (!binary && data.toString() === "close") socket.close(4001, "bye");
    else socket.send(data, { binary });
  });
  socket.on("close", (code) => state.closes.push(code));
});

server.listen(Number(process.argv[2]), "127.0.0.1");
