"""Walks through the example: log in, cached profile, purge, queues, log out.

Starts a Redis (or uses $REDIS_URL), the application and pillion on free ports,
prints what each step saw, and stops at the first that does not hold. run.sh
finds a Python that has FastAPI; this file needs only the standard library.
"""
import contextlib
import ctypes
import http.client
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from typing import Any, Callable, Iterator, NoReturn, Optional, TypeVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
T = TypeVar("T")


class StepFailed(Exception):
    """What a step saw is not what it should have seen."""


def check(held: bool, saw: str) -> None:
    if not held:
        raise StepFailed(saw)


def wait_for(what: str, probe: Callable[[], Optional[T]], seconds: float) -> T:
    """Polls until the probe gives something. The bound is generous, so that only
    a real fault exceeds it."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found is not None:
            return found
        check(time.monotonic() < deadline, f"{what}: not within {seconds:g} s")
        time.sleep(0.005)


# --- processes ----------------------------------------------------------------


def free_port() -> int:
    """A port below the range that the system gives to outgoing connections, so
    that none of those takes it before its server does."""
    for _ in range(200):
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StepFailed("no free port on 127.0.0.1")


def die_with_parent() -> Optional[Callable[[], None]]:
    """On Linux, ends a child even when this script is killed with -9."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def in_the_child() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

    return in_the_child


class Processes:
    """The servers of the walk-through; each logs to a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str], env: dict[str, str], cwd: Path) -> None:
        # A PILLION_* variable of the caller's would change what is tested.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PILLION_")}
        with open(self.folder / f"{name}.log", "wb") as log:
            self.running[name] = subprocess.Popen(
                command,
                cwd=cwd,
                env={**inherited, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(),
            )

    def ready(self, name: str, probe: Callable[[], bool]) -> None:
        def look() -> Optional[bool]:
            code = self.running[name].poll()
            check(code is None, f"{name} ended with status {code} while it started")
            with contextlib.suppress(OSError, http.client.HTTPException):
                return probe() or None
            return None

        wait_for(f"{name} to be ready", look, 30)

    def stop(self) -> dict[str, int]:
        """Ends them, the last started first, and gives their exit statuses."""
        statuses = {}
        for name, process in reversed(list(self.running.items())):
            process.terminate()
            try:
                statuses[name] = process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                statuses[name] = process.wait()
        self.running = {}
        return statuses

    def logs(self) -> str:
        out = ""
        for path in sorted(self.folder.glob("*.log")):
            tail = path.read_text(errors="replace").splitlines()[-25:]
            out += f"--- the end of {path.name}\n" + "\n".join(tail) + "\n"
        return out


# --- a small HTTP client --------------------------------------------------------


class Reply:
    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        self.text = body.decode(errors="replace")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cache_status(self) -> str:
        return self.headers.get("Cache-Status", "")

    @property
    def hit(self) -> bool:
        return any(part.strip() == "hit" for part in self.cache_status.split(";"))


class Client:
    def __init__(self, port: int, **headers: str) -> None:
        self.port = port
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        sent = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())


# --- the walk -------------------------------------------------------------------


class Walk:
    def __init__(self, pillion: int, app: int) -> None:
        self.anyone = Client(pillion)
        self.app = Client(app)  # past pillion: to look, and to play the back office
        self.pillion = pillion

    def app_calls(self, route: str) -> int:
        return int(self.app.call("GET", "/_calls").json.get(route, 0))

    def steps(self) -> list[Callable[[], str]]:
        return [
            self.refused_without_session,
            self.log_in,
            self.profile_miss_then_hit,
            self.second_user,
            self.update_and_purge,
            self.purge_by_another_road,
            self.unknown_product,
            self.list_task,
            self.delayed_task,
            self.forged_webhook,
            self.log_out,
        ]

    def refused_without_session(self) -> str:
        """no session: 401, and the application is not asked"""
        before = self.app_calls("GET /profile")
        reply = self.anyone.call("GET", "/profile", X_User_Id="1")
        check(reply.status == 401, f"status {reply.status}: {reply.text}")
        made_up = self.anyone.call("GET", "/profile", Cookie=f"session_id={'0' * 32}")
        check(made_up.status == 401, f"made-up session: status {made_up.status}: {made_up.text}")
        calls = self.app_calls("GET /profile") - before
        check(calls == 0, f"the application was asked {calls} times")
        return "401 with a claimed X-User-Id, 401 with a made-up session, application asked 0 times"

    def log_in(self) -> str:
        """log in: the application writes the session, pillion accepts it"""
        form = {"username": "ada", "password": "engine"}
        reply = self.anyone.call("POST", "/login", form)
        check(reply.status == 200, f"status {reply.status}: {reply.text}")
        cookie = reply.headers.get("Set-Cookie", "").split(";")[0]
        check(cookie == f"session_id={reply.json['session_id']}", f"Set-Cookie: {cookie!r}")
        self.ada = Client(self.pillion, Cookie=cookie)
        return f"200, Set-Cookie: {cookie[:19]}…"

    def profile_miss_then_hit(self) -> str:
        """profile: a miss, then hits; the application is asked once"""
        before = self.app_calls("GET /profile")
        first = self.ada.call("GET", "/profile")
        check(first.status == 200, f"status {first.status}: {first.text}")
        check(not first.hit, f"the first answer was a hit: {first.cache_status}")
        for _ in range(20):
            again = self.ada.call("GET", "/profile")
            check(again.status == 200, f"status {again.status}: {again.text}")
            check(again.body == first.body, f"{again.text} after {first.text}")
            check(again.hit, f"Cache-Status: {again.cache_status!r}")
        calls = self.app_calls("GET /profile") - before
        check(calls == 1, f"the application was asked {calls} times for 21 requests")
        return (
            f"{first.text}; [{first.cache_status}] then 20 × [{again.cache_status}];"
            f" application asked {calls} time"
        )

    def second_user(self) -> str:
        """a second user gets her own profile, whatever she claims"""
        form = {"username": "grace", "password": "compiler"}
        session = self.anyone.call("POST", "/login", form).json["session_id"]
        self.grace = Client(self.pillion, X_Session_ID=session)
        honest = self.grace.call("GET", "/profile")
        spoof = self.grace.call("GET", "/profile", X_User_Id="1")
        for reply in honest, spoof:
            check(reply.status == 200, f"status {reply.status}: {reply.text}")
            check(reply.json["user_id"] == 2, f"she got {reply.text}")
        ada = self.ada.call("GET", "/profile")
        check(ada.json["user_id"] == 1, f"and then the first user got {ada.text}")
        return f"{reply.text}, also when she sends X-User-Id: 1"

    def update_and_purge(self) -> str:
        """update: the application purges, the next profile is fresh"""
        name = f"Ada Lovelace {secrets.token_hex(2)}"
        reply = self.ada.call("PUT", "/profile", {"name": name})
        check(reply.status == 200, f"status {reply.status}: {reply.text}")
        return self.becomes(self.ada, name)

    def purge_by_another_road(self) -> str:
        """an update that does not pass through pillion purges as well"""
        name = f"Countess of Lovelace {secrets.token_hex(2)}"
        reply = self.app.call("PUT", "/profile", {"name": name}, X_User_Id="1")
        check(reply.status == 200, f"status {reply.status}: {reply.text}")
        result = self.becomes(self.ada, name)
        other = self.grace.call("GET", "/profile")
        check(other.hit, f"the other user's profile went too: {other.cache_status}")
        return f"{result}; the other user's is still [{other.cache_status}]"

    def becomes(self, client: Client, name: str) -> str:
        """Polls: the purge reaches pillion beside the answer to the update."""
        before, start = self.app_calls("GET /profile"), time.monotonic()

        def fresh() -> Optional[Reply]:
            reply = client.call("GET", "/profile")
            return reply if reply.json.get("name") == name else None

        reply = wait_for(f"the profile of {name!r}", fresh, 5)
        took = (time.monotonic() - start) * 1000
        check(client.call("GET", "/profile").hit, "the fresh profile was not stored")
        calls = self.app_calls("GET /profile") - before
        check(calls == 1, f"the application was asked {calls} times after one purge")
        return f"{reply.text} after {took:.1f} ms, application asked {calls} time, then hits"

    def unknown_product(self) -> str:
        """an unknown product id reaches the application once"""
        route = "GET /api/products/{product_id}"
        path = f"/api/products/{random.randrange(10**6, 10**9)}"
        before = self.app_calls(route)
        for _ in range(20):
            reply = self.anyone.call("GET", path)
            check(reply.status == 404, f"status {reply.status}: {reply.text}")
        calls = self.app_calls(route) - before
        check(calls == 1, f"the application was asked {calls} times")
        return f"20 × 404 for {path} [{reply.cache_status}], application asked {calls} time"

    def list_task(self) -> str:
        """a task of the list arrives, byte for byte"""
        order = {"product_id": 1, "note": "a café “saddle”, ☕ & \\ / \t"}
        reply = self.ada.call("POST", "/orders", order)
        check(reply.status == 202, f"status {reply.status}: {reply.text}")
        start = time.monotonic()
        task = self.delivered(reply, 10)
        took = (time.monotonic() - start) * 1000
        check(task["path_type"] == "order", f"delivered to /tasks/{task['path_type']}")
        return f"{task['body']} as webhook-id {task['webhook_id']} within {took:.1f} ms"

    def delayed_task(self) -> str:
        """a delayed task arrives when it is due, not early"""
        reminder = {"text": "ride", "in_seconds": 1.5}
        reply = self.ada.call("POST", "/reminders", reminder)
        check(reply.status == 202, f"status {reply.status}: {reply.text}")
        task = self.delivered(reply, 15)
        late = task["at"] - reply.json["data"]["due"]
        check(late >= 0, f"delivered {-late:.3f} s early")
        return f"{task['body']}, {late * 1000:.1f} ms after it was due"

    def delivered(self, pushed: Reply, seconds: float) -> dict[str, Any]:
        """Waits until the webhook has received exactly what was pushed."""

        def arrived() -> Optional[dict[str, Any]]:
            tasks: list[dict[str, Any]] = self.app.call("GET", "/received").json
            wanted = pushed.json["data"]["id"]
            return next((task for task in tasks if task["data"].get("id") == wanted), None)

        task = wait_for(f"the delivery of {pushed.text}", arrived, seconds)
        check(task["body"] == pushed.text, f"{task['body']!r} arrived, {pushed.text!r} was pushed")
        check(task["webhook_id"] != "", "the delivery has no webhook-id")
        return task

    def forged_webhook(self) -> str:
        """a webhook that pillion did not sign is refused by the application"""
        fields = {"webhook_id": "x", "webhook_timestamp": str(int(time.time()))}
        task = {"type": "order", "data": {}}
        reply = self.ada.call("POST", "/tasks/order", task, webhook_signature="v1,AAAA", **fields)
        check(reply.status == 401, f"status {reply.status}: {reply.text}")
        forged = [t for t in self.app.call("GET", "/received").json if t["webhook_id"] == "x"]
        check(not forged, "the application took it")
        return f"{reply.status} {reply.text}"

    def log_out(self) -> str:
        """log out: 401, for the cached profile too"""
        check(self.ada.call("GET", "/profile").hit, "the profile is not cached before the log-out")
        reply = self.ada.call("POST", "/logout")
        check(reply.status == 204, f"status {reply.status}: {reply.text}")
        start = time.monotonic()

        def refused() -> Optional[Reply]:
            reply = self.ada.call("GET", "/profile")
            return reply if reply.status == 401 else None

        wait_for("401 after the log-out", refused, 5)
        took = (time.monotonic() - start) * 1000
        other = self.grace.call("GET", "/profile")
        check(other.status == 200, f"the other user's session ended too: {other.status}")
        return f"401 within {took:.1f} ms of the answer; the other user still has 200"


# --- start and end --------------------------------------------------------------


def build(folder: Path) -> str:
    """Gives the path of a pillion binary: $PILLION, or one that is built now."""
    if os.environ.get("PILLION"):
        return str(Path(os.environ["PILLION"]).resolve())
    binary = str(folder / "pillion")
    done = subprocess.run(["go", "build", "-o", binary, "./cmd/pillion"], cwd=ROOT)
    check(done.returncode == 0, "go build ./cmd/pillion failed")
    return binary


def start_redis(processes: Processes) -> str:
    if os.environ.get("REDIS_URL"):
        return os.environ["REDIS_URL"]
    port = free_port()
    program = shutil.which("redis-server") or shutil.which("valkey-server") or "redis-server"
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    processes.start("redis", [program, *options], {}, processes.folder)

    def ping() -> bool:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")

    processes.ready("redis", ping)
    return f"redis://127.0.0.1:{port}/0"


def start_app(processes: Processes, env: dict[str, str]) -> int:
    port = free_port()
    uvicorn = [sys.executable, "-m", "uvicorn", "app:app", "--host", "127.0.0.1"]
    processes.start("app", [*uvicorn, "--port", str(port)], env, HERE)
    client = Client(port)
    processes.ready("app", lambda: client.call("GET", "/healthz").status == 200)
    # A Redis of $REDIS_URL may hold profiles that an earlier walk stored: an
    # update purges them.
    for user, name in ("1", "Ada"), ("2", "Grace"):
        client.call("PUT", "/profile", {"name": name}, X_User_Id=user)
    return port


def start_pillion(processes: Processes, binary: str, app: int, env: dict[str, str]) -> int:
    port, admin = free_port(), free_port()
    url = f"http://127.0.0.1:{app}"
    overrides = {
        "APP_URL": url,  # the webhooks' address in config.yaml
        "PILLION_UPSTREAM_URL": url,
        "PILLION_LISTEN": f"127.0.0.1:{port}",
        "PILLION_ADMIN_LISTEN": f"127.0.0.1:{admin}",
    }
    command = [binary, "run", "--config", str(HERE / "config.yaml")]
    # In a folder without a .env file.
    processes.start("pillion", command, {**env, **overrides}, processes.folder)
    client = Client(admin)
    processes.ready("pillion", lambda: client.call("GET", "/readyz").status == 200)
    return port


def walk(processes: Processes) -> None:
    binary = build(processes.folder)
    env = {
        "REDIS_URL": start_redis(processes),
        "WEBHOOK_SECRET": "whsec_" + b64encode(secrets.token_bytes(24)).decode(),
    }
    app = start_app(processes, env)
    pillion = start_pillion(processes, binary, app, env)
    print(f"pillion on http://127.0.0.1:{pillion}, the application on http://127.0.0.1:{app}")
    steps = Walk(pillion, app).steps()
    for number, step in enumerate(steps, 1):
        print(f"{number:2}. {step.__doc__}", flush=True)
        print(f"    saw: {step()}", flush=True)
    statuses = processes.stop()
    check(statuses["pillion"] == 0, f"pillion ended with status {statuses['pillion']}")
    print(f"all {len(steps)} steps held; pillion stopped cleanly")


@contextlib.contextmanager
def scratch() -> Iterator[Processes]:
    """A folder and the processes in it, both gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="pillion-fastapi-") as folder:
        processes = Processes(Path(folder))
        try:
            yield processes
        finally:
            processes.stop()


def main() -> int:
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, _: Any) -> NoReturn:
        for later in ends:  # a second one must not break the clean-up off
            signal.signal(later, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in ends:
        signal.signal(number, stop)
    with scratch() as processes:
        try:
            walk(processes)
        except (StepFailed, OSError, http.client.HTTPException, ValueError, KeyError) as failure:
            print(f"FAILED: {failure or type(failure).__name__}", file=sys.stderr)
            print(processes.logs(), file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
