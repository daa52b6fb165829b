// Node's fetch and http, undici and ws against the program.
//
// Prints "ok NAME" or "not ok NAME: WHY" for each check, and "done" at the end.
"use strict";
const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const { once } = require("node:events");
const http = require("node:http");

const base = process.argv[2];
const MIB = 1 << 20;
const sha256 = (body) => crypto.createHash("sha256").update(body).digest("hex");
const checks = {};

async function state() {
  return (await fetch(base + "/state")).json();
}

async function eventually(what, ok) {
  const deadline = Date.now() + 30000;
  while (!(await ok())) {
    if (Date.now() > deadline) throw new Error("not within 30s: " + what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// request gives the response and its body, and whether the connection was used before.
function request(agent, path, options = {}, body) {
  return new Promise((resolve, reject) => {
    const req = http.request(base + path, { agent, ...options }, async (res) => {
      try {
        const pieces = [];
        for await (const piece of res) pieces.push(piece);
        resolve({ res, body: Buffer.concat(pieces), reused: req.reusedSocket });
      } catch (err) {
        reject(err);
      }
    });
    req.on("error", reject);
    req.end(body);
  });
}

checks.http_keep_alive = async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (let i = 0; i < 100; i++) {
    const path = ["/file?n=5000&control=max-age=60", "/file?n=5000", "/chunked?n=20000", "/echo"][i % 4];
    const { res, body, reused } = await request(agent, path);
    assert.equal(res.statusCode, 200);
    if (res.headers["x-sha256"]) assert.equal(sha256(body), res.headers["x-sha256"]);
    assert.equal(reused, i > 0, `request ${i}: on a connection that was used before`);
  }
  agent.destroy();
};

checks.http_expect = async () => {
  const body = crypto.randomBytes(5 * MIB);
  const headers = { Expect: "100-continue", "Content-Length": body.length };
  const req = http.request(base + "/echo", { method: "POST", headers, agent: false });
  req.flushHeaders();
  await once(req, "continue");
  req.end(body);
  const [res] = await once(req, "response");
  let text = "";
  for await (const piece of res) text += piece;
  assert.equal(JSON.parse(text).sha256, sha256(body));
};

checks.http_head = async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (const path of ["/file?n=7000&control=max-age=60", "/file?n=7000"]) {
    const { res, body } = await request(agent, path, { method: "HEAD" });
    assert.deepEqual([res.statusCode, res.headers["content-length"], body.length], [200, "7000", 0]);
    assert.equal((await request(agent, path)).body.length, 7000);
  }
  agent.destroy();
};

checks.http_trailers = async () => {
  if (!(await state()).trailers) return;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (let i = 0; i < 3; i++) {
    const { res, body } = await request(agent, "/trailers");
    assert.equal(sha256(body), res.headers["x-sha256"]);
  }
  agent.destroy();
};

checks.fetch_upload_stream = async () => {
  const piece = crypto.randomBytes(64 << 10);
  let left = 80;
  const digest = crypto.createHash("sha256");
  const body = new ReadableStream({
    pull(controller) {
      if (left-- === 0) return controller.close();
      digest.update(piece);
      controller.enqueue(piece);
    },
  });
  const res = await fetch(base + "/echo", { method: "POST", body, duplex: "half" });
  const got = await res.json();
  assert.deepEqual([got.length, got.sha256], [80 * piece.length, digest.digest("hex")]);
};

checks.fetch_download_stream = async () => {
  for (const path of ["/chunked?n=3000000", "/file?n=3000000", "/chunked?n=3000000&control=max-age=60"]) {
    const res = await fetch(base + path);
    const digest = crypto.createHash("sha256");
    for await (const piece of res.body) digest.update(piece);
    assert.equal(digest.digest("hex"), res.headers.get("x-sha256"), path);
  }
};

checks.fetch_gzip = async () => {
  for (let i = 0; i < 2; i++) {
    const res = await fetch(base + "/gzip?control=max-age=60");
    assert.equal(res.headers.get("content-encoding"), "gzip");
    assert.equal(sha256(await res.text()), res.headers.get("x-sha256"));
  }
};

checks.fetch_abort = async () => {
  const { aborts } = await state();
  const abort = new AbortController();
  const res = await fetch(base + "/endless", { signal: abort.signal });
  await res.body.getReader().read();
  abort.abort();
  await eventually("the application sees the end of the download", async () => (await state()).aborts > aborts);
};

checks.undici_pipelining = async () => {
  const { Client } = require("undici");
  const client = new Client(base, { pipelining: 8 });
  const ask = async (i) => {
    const { statusCode, headers, body } = await client.request({ path: `/file?n=${1000 + i}`, method: "GET" });
    assert.deepEqual([statusCode, sha256(Buffer.from(await body.arrayBuffer()))], [200, headers["x-sha256"]]);
  };
  await Promise.all(Array.from({ length: 40 }, (_, i) => ask(i)));
  await client.close();
};

checks.undici_upload = async () => {
  const { request: send, Agent } = require("undici");
  const dispatcher = new Agent({ keepAliveTimeout: 10 });
  const piece = crypto.randomBytes(64 << 10);
  async function* pieces() {
    for (let i = 0; i < 80; i++) yield piece;
  }
  const { body } = await send(base + "/echo", { method: "PUT", body: pieces(), dispatcher });
  assert.equal((await body.json()).length, 80 * piece.length);
  await dispatcher.close();
};

function connect() {
  const { WebSocket } = require("ws");
  const ws = new WebSocket(base.replace("http:", "ws:") + "/ws");
  return once(ws, "open").then(() => ws);
}

checks.ws_echo = async () => {
  const ws = await connect();
  for (const message of ["", "text", "ä".repeat(MIB / 2), Buffer.alloc(0), crypto.randomBytes(MIB)]) {
    ws.send(message);
    const [data, binary] = await once(ws, "message");
    assert.equal(binary, typeof message !== "string");
    assert(Buffer.from(message).equals(data), `a message of ${message.length} came back changed`);
  }
  ws.close();
  await once(ws, "close");
};

checks.ws_ping = async () => {
  const ws = await connect();
  for (let i = 0; i < 3; i++) {
    ws.ping("p" + i);
    const [data] = await once(ws, "pong");
    assert.equal(data.toString(), "p" + i);
  }
  ws.terminate();
};

checks.ws_close_by_client = async () => {
  const count = async () => (await state()).closes.filter((code) => code === 4003).length;
  const before = await count();
  const ws = await connect();
  ws.close(4003, "client");
  await once(ws, "close");
  await eventually("the application gets code 4003", async () => (await count()) > before);
};

checks.ws_close_by_application = async () => {
  const ws = await connect();
  ws.send("close");
  const [code] = await once(ws, "close");
  assert.equal(code, 4001);
};

(async () => {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log("ok", name);
    } catch (err) {
      console.log(`not ok ${name}: ${String(err && err.message).replaceAll("\n", " ")}`);
    }
  }
  console.log("done");
  process.exit(0);
})();
