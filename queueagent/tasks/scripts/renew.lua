-- Extends leases that the caller still holds.
--
-- KEYS[1] leases
-- ARGV[1] lease in ms
-- ARGV[2..] lease members "<id>|<token>", at most 1000
--
-- Returns the members that the caller does not hold any more.

local t = redis.call('TIME')
local expiry = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000) + tonumber(ARGV[1])
local pairs_, lost = {}, {}
for i = 2, #ARGV do
  pairs_[#pairs_ + 1] = expiry
  pairs_[#pairs_ + 1] = ARGV[i]
end
-- ZADD needs memory, as Redis sees it, and is refused at maxmemory, unless the script has
-- written before: so it writes something that frees memory, and is not there.
redis.call('ZREM', KEYS[1], '')
if redis.call('ZADD', KEYS[1], 'XX', 'CH', unpack(pairs_)) < #ARGV - 1 then
  for i = 2, #ARGV do
    if not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
      lost[#lost + 1] = ARGV[i]
    end
  end
end
return lost
