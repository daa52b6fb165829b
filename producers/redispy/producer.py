"""Writes tasks without any queue library: producer.py REDIS_URL."""
import json
import sys
import time

from redis import Redis

redis = Redis.from_url(sys.argv[1])
for i in range(20):
    redis.rpush("app:tasks", json.dumps({"type": "email", "data": {"n": i}}))
redis.zadd("app:later", {json.dumps({"type": "reminder", "data": {"n": i}}): time.time() + 1 for i in range(5)})
for i in range(20):
    redis.xadd("app:events", {"kind": "signup", "n": str(i)})
redis.xadd("app:payloads", {"payload": b"\x00\xff raw bytes", "other": "left out"})
