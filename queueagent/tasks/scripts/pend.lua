-- Hands leases over to the application, which goes on working on the tasks and
-- acknowledges them later. They keep their tokens, marked as pending, so a restart of
-- the agent does not take them away. Fenced as nack.lua is: what the application has
-- acknowledged meanwhile stays so.
--
-- KEYS[1] records  KEYS[2] leases
-- ARGV    pairs: lease member, lease in ms; at most 1000 pairs
--
-- Returns the number of leases handed over.

local now, moved = redis_ms(), 0
allow_memory(KEYS[2])
for i = 1, #ARGV, 2 do
  local member = ARGV[i]
  if redis.call('ZSCORE', KEYS[2], member) then
    if redis.call('HEXISTS', KEYS[1], id_of(member)) == 1 then
      redis.call('ZADD', KEYS[2], now + tonumber(ARGV[i + 1]), pending_member(member))
      moved = moved + 1
    end
    redis.call('ZREM', KEYS[2], member)
  end
end
return moved
