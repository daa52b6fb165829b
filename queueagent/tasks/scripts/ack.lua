-- Removes delivered tasks. By id, whoever leases them now: what was delivered must not
-- be delivered again. Running it twice is harmless.
--
-- KEYS[1] records  KEYS[2] leases  KEYS[3] retry
-- ARGV    lease members "<id>|<token>", at most 1000
--
-- Returns how many tasks there were still to remove.

local ids = {}
for i = 1, #ARGV do
  ids[i] = string.sub(ARGV[i], 1, string.find(ARGV[i], '|', 1, true) - 1)
end
local released = redis.call('ZREM', KEYS[2], unpack(ARGV))
local removed = redis.call('HDEL', KEYS[1], unpack(ids))
if released < #ids then -- some lease had run out: its task may wait in retry
  redis.call('ZREM', KEYS[3], unpack(ids))
end
return removed
