-- Put before the other scripts.
--
-- A lease member is "<id>|<token>"; the token names the agent, its process and the
-- claim, so a member that is still there is proof that the lease is the caller's own.
-- When the application has taken a task over, to acknowledge it later, the token
-- begins with "pending:".
--
-- An envelope is "<reason> <attempts> <abandons> <since, ms>\n<payload>". reason is
-- f (first), r (retry after a failed attempt), c (after a crash) or p (replayed from the dead
-- letters). since is when the task could first have been delivered: when it was due or
-- added, where its source tells, else when it was first claimed.
--
-- Redis undoes nothing when a command of a script is refused: say, a key has been made one
-- of another type by hand, or the user has not the right to a command. So a task is put where it goes before it
-- is removed from where it was, and a script that fails in between can be run again.

local PENDING = 'pending:'

-- Without a token, which only somebody else can have written, the member is the id.
local function id_of(member)
  local at = string.find(member, '|', 1, true)
  return at and string.sub(member, 1, at - 1) or member
end

local function pending_member(member)
  local at = string.find(member, '|', 1, true)
  return string.sub(member, 1, at) .. PENDING .. string.sub(member, at + 1)
end

local function is_pending(member)
  local at = string.find(member, '|', 1, true)
  return at and string.sub(member, at + 1, at + #PENDING) == PENDING
end

-- Of what is no envelope, all is the payload, and it stays as it is: no script may fail on
-- what others wrote.
local function parse(envelope)
  local reason, attempts, abandons, since, at = string.match(envelope, '^(%a) (%d+) (%d+) (%d+)\n()')
  if not at then
    return {reason = 'f', attempts = 0, abandons = 0, since = '0', payload = envelope, damaged = true}
  end
  return {
    reason = reason, attempts = tonumber(attempts), abandons = tonumber(abandons),
    since = since, payload = string.sub(envelope, at),
  }
end

local function pack(e)
  if e.damaged then
    return e.payload
  end
  return e.reason .. ' ' .. e.attempts .. ' ' .. e.abandons .. ' ' .. e.since .. '\n' .. e.payload
end

local function redis_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- A time in ms that a source tells, as the since of an envelope: what is not a time of
-- this age, or is yet to come, is taken for now.
local function since_of(ms, now)
  if ms and ms >= 1e11 and ms <= now then
    return string.format('%.0f', ms)
  end
  return string.format('%.0f', now)
end

-- Milliseconds until the lowest score of a sorted set of times in ms; -1: it is empty.
local function until_head(key, now)
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if not head[2] then
    return -1
  end
  return math.max(0, math.ceil(tonumber(head[2]) - now))
end

-- From its first write on, Redis lets a script have memory also at its maxmemory. This
-- writes nothing, and needs none.
local function allow_memory(leases)
  redis.call('ZREM', leases, '')
end

-- Removes delivered tasks, by lease member, and gives how many were still there.
local function ack(records, leases, retry, members)
  local ids = {}
  for i = 1, #members do
    ids[i] = id_of(members[i])
  end
  local removed = redis.call('HDEL', records, unpack(ids))
  local released = redis.call('ZREM', leases, unpack(members))
  if released < #ids then -- some lease had run out: its task may wait in retry
    redis.call('ZREM', retry, unpack(ids))
  end
  return removed
end

-- Why a task is given up after a failed attempt, which e counts already, when the next would
-- be at that time in ms; nil: it is tried again. max_age is in ms; 0: it may be of any age.
local function given_up(e, at, max_attempts, max_age)
  if e.attempts >= max_attempts then
    return 'max_attempts'
  end
  if max_age > 0 and at > tonumber(e.since) + max_age then
    return 'max_age'
  end
end

-- Moves a task to the dead letters, and ends its lease if it is given. The stream is never
-- trimmed here. The record goes last: should Redis refuse that, the task is not buried
-- again and again.
local function bury(records, leases, dead, id, e, reason, detail, member)
  redis.call('XADD', dead, '*', 'id', id, 'reason', reason, 'detail', detail,
    'attempts', e.attempts, 'abandons', e.abandons, 'since', e.since, 'payload', e.payload)
  if member then
    redis.call('ZREM', leases, member)
  end
  redis.call('HDEL', records, id)
end
