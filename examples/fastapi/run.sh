#!/bin/sh
# Walks through the example against the real pillion, application and Redis.
# Exit status: 0 every step held, 1 one did not, 3 something must be installed.
#
# Uses $PYTHON, $PILLION (a binary that is built already) and $REDIS_URL when set.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

missing() {
    echo "run.sh: $1" >&2
    exit 3
}

python=
for candidate in "${PYTHON:-}" python3 /usr/bin/python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import fastapi, uvicorn, redis.asyncio' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || missing "no Python with FastAPI, uvicorn and redis. Install them:
    apt-get install python3-fastapi python3-uvicorn python3-redis
or set PYTHON to an interpreter that has them (pip install fastapi uvicorn redis)."

if [ -z "${REDIS_URL:-}" ]; then
    command -v redis-server >/dev/null || command -v valkey-server >/dev/null ||
        missing "no redis-server. Install it (apt-get install redis-server), or set REDIS_URL."
fi
if [ -z "${PILLION:-}" ]; then
    command -v go >/dev/null || missing "no Go. Install it, or set PILLION to a pillion binary."
fi

# exec: a signal to this script reaches the walk-through, which cleans up.
export PYTHONDONTWRITEBYTECODE=1
exec "$python" "$here/walkthrough.py"
