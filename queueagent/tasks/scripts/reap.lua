-- Takes leases away: those that have expired, or those named (a restarted agent names
-- its predecessor's). Their tasks are due again at once, in their original order,
-- unless that happened to them before; a task that was abandoned too often goes to the
-- dead letters as "poison". A pending lease that ends is not an agent's death but a
-- failed attempt: the application has not acknowledged in time.
--
-- KEYS[1] records  KEYS[2] leases  KEYS[3] retry  KEYS[4] dead
-- ARGV[1] abandons at which a task is poison
-- ARGV[2] most expired leases to take
-- ARGV[3] failed attempts at which a task goes to the dead letters
-- ARGV[4] age in ms from which on a failed task goes there; "0": none
-- ARGV[5..] lease members to take, expired or not; none: the expired ones
--
-- Returns {now in ms, leases taken, tasks due again, tasks moved to the dead letters, ms
-- until the next lease expires or -1, ms until the first retry is due or -1, pending leases
-- among those taken}. An idle agent has the clock of Redis from here: its timers must follow
-- when that is set.

local records, leases, retry, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, members = redis_ms(), {}
if redis.call('EXISTS', leases, retry) == 0 then
  return {now, 0, 0, 0, -1, -1, 0} -- an idle queue must cost little
end
if #ARGV > 4 then
  for i = 5, #ARGV do
    members[#members + 1] = ARGV[i]
  end
else
  members = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, ARGV[2])
end
-- A task that kills its agent must not take those with it, as poison too, that are leased
-- beside it each time: from the second time on tasks come back one after the other, so
-- many ms apart, and it is alone when it kills again.
local APART = 100
local requeued, buried, suspects, unacked = 0, 0, 0, 0
allow_memory(leases)
for i = 1, #members do
  local id = id_of(members[i])
  local held = redis.call('ZSCORE', leases, members[i])
  local envelope = held and redis.call('HGET', records, id)
  if envelope then
    local e, why, detail = parse(envelope), nil, nil
    if is_pending(members[i]) then
      e.reason, e.attempts, unacked = 'r', e.attempts + 1, unacked + 1
      why = given_up(e, now, tonumber(ARGV[3]), tonumber(ARGV[4]))
      detail = 'the application took it with 202 and did not acknowledge it in time'
    else
      e.reason, e.abandons = 'c', e.abandons + 1
      if e.abandons >= tonumber(ARGV[1]) then
        why, detail = 'poison', 'abandoned ' .. e.abandons .. ' times'
      end
    end
    if why then
      bury(records, leases, dead, id, e, why, detail, members[i])
      buried = buried + 1
    else
      local due = e.since
      if e.abandons >= 2 then
        due, suspects = now + suspects * APART * (e.abandons - 1), suspects + 1
      end
      redis.call('ZADD', retry, due, id)
      redis.call('HSET', records, id, pack(e))
      redis.call('ZREM', leases, members[i])
      requeued = requeued + 1
    end
  elseif held then
    redis.call('ZREM', leases, members[i])
  end
end
return {now, #members, requeued, buried, until_head(leases, now), until_head(retry, now), unacked}
