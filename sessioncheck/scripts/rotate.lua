-- Moves a session to a new id: at no moment is there none of the two, or both.
--
-- KEYS[1] session under its old id  KEYS[2] session under its new id; in one slot, or on
--         a Redis that is no Cluster
-- ARGV[1] the session to write; "" for what the old one holds
-- ARGV[2] its lifetime in ms; "" for what is left of the old one's
--
-- Returns 1, or 0 when there is no session under the old id: it has ended meanwhile, and
-- stays so.

local left = redis.call('PTTL', KEYS[1])
if left == -2 then
  return 0
end
local session = ARGV[1]
if session == '' then
  session = redis.call('GET', KEYS[1])
end
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[2], session, 'PX', ARGV[2])
elseif left >= 0 then
  redis.call('SET', KEYS[2], session, 'PX', math.max(left, 1))
else
  redis.call('SET', KEYS[2], session)
end
redis.call('DEL', KEYS[1])
return 1
