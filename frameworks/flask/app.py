"""Flask with Flask-Session; with SIGNED set, its cookies have a signature."""
import os
import sys

from flask import Flask, request, session
from flask_session import Session
from redis import Redis

port, redis_url = sys.argv[1:3]
app = Flask(__name__)
app.config.update(
    SECRET_KEY="keyboard cat",
    SESSION_TYPE="redis",
    SESSION_REDIS=Redis.from_url(redis_url),
    SESSION_USE_SIGNER=bool(os.getenv("SIGNED")),
)
Session(app)


@app.post("/login")
def login():
    session.clear()
    session["_user_id"] = "alice"
    session["cart"] = [{"name": "book", "price": 2.5}]
    return "logged in"


@app.get("/visit")
def visit():
    session["visits"] = session.get("visits", 0) + 1
    return "hello"


@app.post("/logout")
def logout():
    session.clear()
    return "logged out"


@app.get("/private")
def private():
    return str(request.headers.get("X-User-Id"))


app.run("127.0.0.1", int(port))
