"""FastAPI with sessions of its own: a JSON object for each id, by redis-py."""
import json
import sys
from typing import Optional
from uuid import uuid4

import uvicorn
from fastapi import Cookie, FastAPI, Header, Response
from fastapi.responses import PlainTextResponse
from redis.asyncio import Redis

port, redis_url = sys.argv[1:3]
app = FastAPI(default_response_class=PlainTextResponse)
redis = Redis.from_url(redis_url)


async def start(response: Response, session: dict) -> None:
    session_id = str(uuid4())
    await redis.set(f"session:{session_id}", json.dumps(session), ex=7 * 24 * 3600)
    response.set_cookie("session_id", session_id, httponly=True)


@app.post("/login")
async def login(response: Response) -> str:
    await start(response, {"user_id": "alice"})
    return "logged in"


@app.get("/visit")
async def visit(response: Response) -> str:
    await start(response, {"visits": 1})
    return "hello"


@app.post("/logout")
async def logout(session_id: str = Cookie(default="")) -> str:
    await redis.delete(f"session:{session_id}")
    return "logged out"


@app.get("/private")
async def private(x_user_id: Optional[str] = Header(default=None)) -> str:
    return str(x_user_id)


uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
