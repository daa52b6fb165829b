"""Sends the tasks that the test expects: producer.py REDIS_URL."""
import sys
from datetime import datetime, timedelta, timezone

from celery import Celery

app = Celery("shop", broker=sys.argv[1])


@app.task(name="shop.tasks.add")
def add(x, y, note=None):
    raise NotImplementedError("pillion delivers it to the application")


for i in range(20):
    add.apply_async((i, i + 1), {"note": "für %d" % i})
app.send_task("other.thing", args=["by name"], headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
add.apply_async((100, 0), countdown=1)
add.apply_async((101, 0), eta=datetime.now(timezone(timedelta(hours=5))) + timedelta(seconds=1.5), expires=60)
add.apply_async((102, 0), expires=datetime.now(timezone.utc) - timedelta(seconds=5))
add.apply_async((103, 0), priority=5)
add.apply_async((104, 0), priority=9)
