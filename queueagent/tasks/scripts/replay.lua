-- Makes dead letters tasks again: due at once, in the order of ARGV, with no attempt
-- consumed, under their old ids. What is not there any more is left out, so running it
-- twice changes nothing; so is what has an id that pillion does not give.
--
-- KEYS[1] records  KEYS[2] retry  KEYS[3] dead
-- ARGV    ids of entries of the stream, at most 100
--
-- Returns {now in ms, tasks moved}.

local t, moved = redis.call('TIME'), 0
local now, us = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000), tonumber(t[2]) % 1000
-- Tasks of one time are in the order of their ids. So each is due a microsecond after the one
-- before, counted from that of the clock: the next call begins later than this one ends.
-- As allow_memory does: a replay moves tasks, and frees memory when they are delivered.
redis.call('ZREM', KEYS[2], '')
for i = 1, #ARGV do
  local entry = redis.call('XRANGE', KEYS[3], ARGV[i], ARGV[i])[1]
  if entry then
    local f = {}
    for j = 1, #entry[2], 2 do
      f[entry[2][j]] = entry[2][j + 1]
    end
    if f.id and f.payload and not string.find(f.id, '[|%s]') and redis.call('HEXISTS', KEYS[1], f.id) == 0 then
      redis.call('ZADD', KEYS[2], string.format('%.3f', now + (us + i) / 1000), f.id)
      redis.call('HSET', KEYS[1], f.id, 'p 0 0 ' .. now .. '\n' .. f.payload)
      redis.call('XDEL', KEYS[3], ARGV[i])
      moved = moved + 1
    end
  end
end
return {now, moved}
