// Package peers holds no code: its tests put real clients and real applications on
// both sides of the program, which is tested from outside as it is shipped. Clients:
// curl, wrk, Python's http.client and websockets, Node's fetch and http, undici, ws,
// Chromium. Applications: FastAPI on uvicorn, Node's http with ws.
package peers
