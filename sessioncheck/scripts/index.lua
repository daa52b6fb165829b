-- Notes a session in the list of its user's sessions. Running it twice is harmless: what
-- is there keeps its time.
--
-- KEYS[1] index: sorted set, session id -> time of creation in ms
-- ARGV[1] lifetime of the index in ms: it is only ever made longer
-- ARGV[2] session id
-- ARGV[3] session id whose time this one takes, if that is in the index; "" for none
--
-- Returns how many sessions the index holds.

local t = redis.call('TIME')
local created = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if ARGV[3] ~= '' then
  created = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[3]) or created)
end
redis.call('ZADD', KEYS[1], 'NX', created, ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return redis.call('ZCARD', KEYS[1])
