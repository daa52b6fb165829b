-- Put before the scripts that change envelopes.
--
-- A lease member is "<id>|<token>"; the token names the agent, its process and the
-- claim, so a member that is still there is proof that the lease is the caller's own.
-- An envelope is "<reason> <attempts> <abandons> <first seen, ms>\n<payload>"; reason
-- is f (first), r (retry after a failed attempt) or c (after a crash).

local function id_of(member)
  return string.sub(member, 1, string.find(member, '|', 1, true) - 1)
end

local function parse(envelope)
  local reason, attempts, abandons, first, at = string.match(envelope, '^(%a) (%d+) (%d+) (%d+)\n()')
  return {
    reason = reason, attempts = tonumber(attempts), abandons = tonumber(abandons),
    first = first, payload = string.sub(envelope, at),
  }
end

local function pack(e)
  return e.reason .. ' ' .. e.attempts .. ' ' .. e.abandons .. ' ' .. e.first .. '\n' .. e.payload
end

local function redis_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Milliseconds until the lowest score of a sorted set of times in ms; -1: it is empty.
local function until_head(key, now)
  local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if not head[2] then
    return -1
  end
  return math.max(0, math.ceil(tonumber(head[2]) - now))
end

-- Moves a task to the dead letters. The stream is never trimmed here.
local function bury(records, dead, id, e, reason, detail)
  redis.call('XADD', dead, '*', 'id', id, 'reason', reason, 'detail', detail,
    'attempts', e.attempts, 'abandons', e.abandons, 'first', e.first, 'payload', e.payload)
  redis.call('HDEL', records, id)
end
