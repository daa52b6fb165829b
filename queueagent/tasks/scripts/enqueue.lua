-- Adds a task for a caller that has no Redis client of its own.
--
-- KEYS[1] source  KEYS[2] records  KEYS[3] retry
-- KEYS[4] deduplication: string, the id or "-" of the task that was added under that
--         key, expiring; the same as KEYS[2] when there is none
-- ARGV[1] "left", "right" or "stream": add it to the source; "record": make a record of
--         it that is due later, or that the source could not hold
-- ARGV[2] payload
-- ARGV[3] id of the record
-- ARGV[4] delay in ms
-- ARGV[5] lifetime of the deduplication in ms; "0": there is none
-- ARGV[6] field of the payload (a stream)
--
-- Returns {now in ms, 1 added, 0 a duplicate, due in ms}. The deduplication key is
-- written last: when Redis is full the call fails as a whole.

local now, due = redis_ms(), 0
local dedup = tonumber(ARGV[5])
if dedup > 0 and redis.call('EXISTS', KEYS[4]) == 1 then
  return {now, 0, 0}
end
if ARGV[1] == 'left' then
  redis.call('RPUSH', KEYS[1], ARGV[2]) -- popped from the left
elseif ARGV[1] == 'right' then
  redis.call('LPUSH', KEYS[1], ARGV[2])
elseif ARGV[1] == 'stream' then
  redis.call('XADD', KEYS[1], '*', ARGV[6], ARGV[2])
else
  due = now + tonumber(ARGV[4])
  redis.call('ZADD', KEYS[3], due, ARGV[3])
  redis.call('HSET', KEYS[2], ARGV[3], 'f 0 0 ' .. string.format('%.0f', due) .. '\n' .. ARGV[2])
end
if dedup > 0 then
  redis.call('SET', KEYS[4], ARGV[1] == 'record' and ARGV[3] or '-', 'PX', dedup)
end
return {now, 1, due}
