-- Takes over entries of a stream that were given to another consumer of the group and
-- not acknowledged for a while. They become records, due at once.
--
-- KEYS[1] source  KEYS[2] records  KEYS[3] retry
-- ARGV[1] consumer group  ARGV[2] field of the payload, or ""  ARGV[3] "1": XDEL
-- ARGV[4] idle time in ms from which an entry is taken over
-- ARGV[5] prefix of the ids, unique to this call
-- ARGV[6] most entries to look at  ARGV[7] cursor, at first "0-0"
--
-- Returns {now in ms, entries taken, next cursor; "0-0": that was all, error or ""}.

local source, now = KEYS[1], redis_ms()
local got = redis.pcall('XAUTOCLAIM', source, ARGV[1], 'pillion', ARGV[4], ARGV[7], 'COUNT', ARGV[6])
if got.err then
  local harmless = string.find(got.err, 'NOGROUP', 1, true) or redis.call('EXISTS', source) == 0
  return {now, 0, '0-0', harmless and '' or got.err}
end
local ids, gone, taken = {}, {}, 0
for _, entry in ipairs(got[2]) do
  -- Redis 6 gives entries that were deleted too, without their content.
  if type(entry) == 'table' and type(entry[2]) == 'table' then
    taken = taken + 1
    ids[taken] = entry[1]
    local id = string.format('%s-%04d', ARGV[5], taken) -- in order also within a millisecond
    local since = since_of(entry_ms(entry[1]), now)
    redis.call('ZADD', KEYS[3], since, id)
    redis.call('HSET', KEYS[2], id, 'c 0 0 ' .. since .. '\n' .. payload_of(entry[2], ARGV[2]))
  elseif type(entry) == 'table' then
    gone[#gone + 1] = entry[1]
  end
end
if taken > 0 then
  settle_entries(source, ARGV[1], ids, ARGV[3] == '1')
end
if #gone > 0 then
  redis.call('XACK', source, ARGV[1], unpack(gone))
end
return {now, taken, got[1], ''}
