-- Marks a tag so that the entries that have it count as stale, and are still there to
-- be validated or served meanwhile.
-- KEYS[1]  the tag's purge mark
-- ARGV[1]  its life in milliseconds
-- Returns the new mark: what a hard purge left, "~", and the time in milliseconds. A
-- hard purge before it keeps its effect, since entries compare what stands before "~".
local mark = redis.call('GET', KEYS[1]) or ''
local hard = string.match(mark, '^[^~]*')
local now = redis.call('TIME')
mark = hard .. '~' .. string.format('%d', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('SET', KEYS[1], mark, 'PX', ARGV[1])
return mark
