-- What the application says, outside of a response, of a task that it has: it proves
-- by the token that the lease is still its own.
--
-- KEYS[1] records  KEYS[2] leases  KEYS[3] retry  KEYS[4] dead
-- ARGV[1] lease member as it was delivered; pending or not
-- ARGV[2] "ack", "extend", "retry", "release" or "bury"
-- ARGV[3] extend: lease in ms from now; retry, release: delay in ms
-- ARGV[4] bury: reason  ARGV[5] bury, retry: detail of the dead letter
-- ARGV[6] retry: failed attempts at which the task goes to the dead letters instead
-- ARGV[7] retry: age in ms from which on it does; "0": none
--
-- Returns {now in ms, 1 or 0: the lease is not the caller's, ms until the first retry is due or
-- -1, failed attempts so far, reason of the dead letter or ""}. release consumes no attempt,
-- retry and bury do.

local now, member = redis_ms(), ARGV[1]
local records, leases, retry = KEYS[1], KEYS[2], KEYS[3]

local function reply(done, attempts, reason)
  return {now, done, until_head(retry, now), attempts or 0, reason or ''}
end

if not redis.call('ZSCORE', leases, member) then
  member = pending_member(member)
  if not redis.call('ZSCORE', leases, member) then
    return reply(0)
  end
end
local id, act = id_of(member), ARGV[2]
allow_memory(leases)
if act == 'extend' then
  redis.call('ZADD', leases, 'XX', now + tonumber(ARGV[3]), member)
  return reply(1)
end
if act == 'ack' then
  redis.call('HDEL', records, id)
  redis.call('ZREM', leases, member)
  return reply(1)
end
local envelope = redis.call('HGET', records, id)
if not envelope then
  redis.call('ZREM', leases, member)
  return reply(1) -- an earlier owner has acknowledged it
end
local e, due, reason = parse(envelope), now + tonumber(ARGV[3]), nil
if act ~= 'release' then
  e.attempts = e.attempts + 1
end
if act == 'bury' then
  reason = ARGV[4]
elseif act == 'retry' then
  e.reason = 'r'
  reason = given_up(e, due, tonumber(ARGV[6]), tonumber(ARGV[7]))
end
if reason then
  bury(records, leases, KEYS[4], id, e, reason, ARGV[5], member)
else
  redis.call('ZADD', retry, due, id)
  if act == 'retry' then
    redis.call('HSET', records, id, pack(e))
  end
  redis.call('ZREM', leases, member)
end
return reply(1, e.attempts, reason)
