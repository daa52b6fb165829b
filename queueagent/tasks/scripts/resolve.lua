-- What the application says, outside of a response, of a task that it has: it proves
-- by the token that the lease is still its own.
--
-- KEYS[1] records  KEYS[2] leases  KEYS[3] retry  KEYS[4] dead
-- ARGV[1] lease member as it was delivered; pending or not
-- ARGV[2] "ack", "extend", "retry", "release" or "bury"
-- ARGV[3] extend: lease in ms from now; retry, release: delay in ms
-- ARGV[4] bury: reason  ARGV[5] bury: detail
--
-- Returns {now in ms, 1 or 0: the lease is not the caller's, ms until the first retry is due or
-- -1}. release consumes no attempt, retry and bury do.

local now, member = redis_ms(), ARGV[1]
local records, leases, retry = KEYS[1], KEYS[2], KEYS[3]
if not redis.call('ZSCORE', leases, member) then
  member = pending_member(member)
  if not redis.call('ZSCORE', leases, member) then
    return {now, 0, until_head(retry, now)}
  end
end
local id, act = id_of(member), ARGV[2]
allow_memory(leases)
if act == 'extend' then
  redis.call('ZADD', leases, 'XX', now + tonumber(ARGV[3]), member)
  return {now, 1, until_head(retry, now)}
end
if act == 'ack' then
  redis.call('HDEL', records, id)
  redis.call('ZREM', leases, member)
  return {now, 1, until_head(retry, now)}
end
local envelope = redis.call('HGET', records, id)
if envelope then
  local e = parse(envelope)
  if act ~= 'release' then
    e.attempts = e.attempts + 1
  end
  if act == 'bury' then
    bury(records, leases, KEYS[4], id, e, ARGV[4], ARGV[5], member)
  else
    redis.call('ZADD', retry, now + tonumber(ARGV[3]), id)
    if act == 'retry' then
      e.reason = 'r'
      redis.call('HSET', records, id, pack(e))
    end
  end
end
redis.call('ZREM', leases, member)
return {now, 1, until_head(retry, now)}
