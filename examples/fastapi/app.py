"""A small shop that lets pillion do its caching, session checks and queues.

Nothing of pillion is imported here. The application writes what it would write
anyway (sessions, tasks) into Redis, trusts the X-User-Id header that pillion
sets, and purges a cached page with one Redis write. It must listen where only
pillion reaches it: whoever reaches it directly can claim to be any user.
"""
import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections import Counter
from typing import Any, Awaitable, Callable, Optional
from uuid import uuid4

from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel, Field
from redis.asyncio import Redis

DAY = 24 * 3600
SESSION_TTL = 7 * DAY
# A purge mark must outlive every response that was stored before it, and pillion
# tells from what is left of its life when it was written. So it lives for exactly
# pillion's cache.max_ttl (seven days unless set) and two days.
PURGE_TTL = 9 * DAY
WEBHOOK_KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
SECURE_COOKIES = os.getenv("SECURE_COOKIES", "1") == "1"

app = FastAPI(title="A shop behind pillion")
redis = Redis.from_url(os.getenv("REDIS_URL", "redis://127.0.0.1:6379/0"), decode_responses=True)


class Login(BaseModel):
    username: str
    password: str


class Profile(BaseModel):
    user_id: int
    name: str


class ProfileUpdate(BaseModel):
    name: str


class Order(BaseModel):
    product_id: int
    note: str = ""


class Reminder(BaseModel):
    text: str
    in_seconds: float = Field(ge=0)


class Task(BaseModel):
    type: str
    data: dict[str, Any]


# These stand for a database. Keep a password hash, not a password, in yours.
ACCOUNTS = {"ada": (1, "engine"), "grace": (2, "compiler")}
profiles = {1: Profile(user_id=1, name="Ada"), 2: Profile(user_id=2, name="Grace")}
PRODUCTS = {1: "Saddle", 2: "Pannier", 3: "Bell"}


# --- sessions: the application creates and ends them, pillion checks them ---


@app.post("/login")
async def login(form: Login, response: Response) -> dict[str, str]:
    user_id, password = ACCOUNTS.get(form.username, (0, ""))
    if not user_id or not hmac.compare_digest(password.encode(), form.password.encode()):
        raise HTTPException(401, "wrong username or password")
    session_id = str(uuid4())
    session = {"user_id": user_id, "username": form.username}
    await redis.setex(f"session:{session_id}", SESSION_TTL, json.dumps(session))
    response.set_cookie(
        "session_id", session_id, max_age=SESSION_TTL,
        httponly=True, samesite="lax", secure=SECURE_COOKIES,
    )
    return {"session_id": session_id}


def session_of(
    x_session_id: Optional[str] = Header(None), session_id: Optional[str] = Cookie(None)
) -> str:
    """The credential that pillion checked: the header first, then the cookie."""
    return x_session_id or session_id or ""


@app.post("/logout", status_code=204)
async def logout(response: Response, session_id: str = Depends(session_of)) -> None:
    await redis.delete(f"session:{session_id}")  # every pillion answers 401 from now on
    response.delete_cookie("session_id")


def user_of(x_user_id: int = Header()) -> int:
    """The user whose session pillion checked. A client cannot set this header."""
    return x_user_id


# --- pages: pillion caches them as config.yaml says -------------------------


@app.get("/profile")
async def profile(user_id: int = Depends(user_of)) -> Profile:
    return profiles[user_id]


@app.put("/profile")
@app.post("/profile")
async def update_profile(update: ProfileUpdate, user_id: int = Depends(user_of)) -> Profile:
    profiles[user_id].name = update.name  # first the change, then the purge
    await purge(f"user:{user_id}")
    return profiles[user_id]


async def purge(tag: str) -> None:
    """Drops every stored response with this tag, in every pillion at once.

    pillion compares the mark with the one it saw before it asked the
    application, so any new value will do.
    """
    await redis.set(f"pillion:t:{tag}", secrets.token_hex(8), ex=PURGE_TTL)


@app.get("/api/products/{product_id}")
async def product(product_id: int) -> dict[str, Any]:
    if product_id not in PRODUCTS:
        raise HTTPException(404, "no such product")
    return {"id": product_id, "name": PRODUCTS[product_id]}


# --- queues: push here, and pillion calls the webhook below ------------------


def task_json(kind: str, data: dict[str, Any]) -> str:
    return json.dumps({"type": kind, "data": data}, ensure_ascii=False)


def accepted(task: str) -> Response:
    return Response(task, 202, media_type="application/json")


@app.post("/orders", status_code=202)
async def order(body: Order, user_id: int = Depends(user_of)) -> Response:
    data = {"id": str(uuid4()), "user_id": user_id}
    task = task_json("order", {**data, "product_id": body.product_id, "note": body.note})
    await redis.rpush("fastapi:tasks", task)
    return accepted(task)


@app.post("/reminders", status_code=202)
async def remind(body: Reminder, user_id: int = Depends(user_of)) -> Response:
    due = time.time() + body.in_seconds
    # The id keeps two equal reminders apart: members of a sorted set are unique.
    data = {"id": str(uuid4()), "user_id": user_id, "text": body.text, "due": due}
    task = task_json("reminder", data)
    await redis.zadd("fastapi:delay_tasks", {task: due})
    return accepted(task)


async def signed_body(
    request: Request,
    webhook_id: str = Header(),
    webhook_timestamp: int = Header(),
    webhook_signature: str = Header(),
) -> bytes:
    """The body of a delivery, if its Standard Webhooks signature holds.

    Needed because the webhook's path is open to every client with a session.
    """
    body = await request.body()
    signed = f"{webhook_id}.{webhook_timestamp}.".encode() + body
    digest = hmac.new(WEBHOOK_KEY, signed, hashlib.sha256).digest()
    want = b"v1," + base64.b64encode(digest)
    offered = webhook_signature.encode().split(b" ")
    fresh = abs(time.time() - webhook_timestamp) < 300
    if not fresh or not any(hmac.compare_digest(want, one) for one in offered):
        raise HTTPException(401, "bad webhook signature")
    return body


# By webhook-id, which is the same each time a task is delivered. A real
# application keeps the ids in its database, in the transaction of the work.
received: dict[str, dict[str, Any]] = {}


@app.post("/tasks/{kind}", status_code=204)
async def receive(
    kind: str, body: bytes = Depends(signed_body), webhook_id: str = Header()
) -> None:
    task = Task(**json.loads(body))
    if webhook_id in received:  # delivery is at least once: the second time is a no-op
        received[webhook_id]["deliveries"] += 1
        return
    if len(received) >= 1000:
        del received[next(iter(received))]
    received[webhook_id] = {
        "webhook_id": webhook_id,
        "path_type": kind,
        "type": task.type,
        "data": task.data,
        "body": body.decode(),
        "at": time.time(),
        "deliveries": 1,
    }


# --- what the walk-through looks at ------------------------------------------

calls: Counter[str] = Counter()


@app.middleware("http")
async def count(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Counts how often each route is really called. On a cached answer the
    X-App-Calls header is as old as the answer."""
    response = await call_next(request)
    route = request.scope.get("route")
    if route is not None:
        name = f"{request.method} {route.path}"
        calls[name] += 1
        response.headers["X-App-Calls"] = str(calls[name])
    return response


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/_calls")
async def call_counts() -> dict[str, int]:
    return dict(calls)


@app.get("/received")
async def received_tasks() -> list[dict[str, Any]]:
    return list(received.values())
