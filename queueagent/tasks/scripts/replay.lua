-- Makes dead letters tasks again: due at once, with no attempt consumed, under their
-- old ids. What is not there any more is left out, so running it twice changes nothing.
--
-- KEYS[1] records  KEYS[2] retry  KEYS[3] dead
-- ARGV    ids of entries of the stream, at most 100
--
-- Returns {now in ms, tasks moved}.

local now, moved = redis_ms(), 0
redis.call('ZREM', KEYS[2], '') -- as allow_memory does: replaying moves, and what is delivered frees memory
for i = 1, #ARGV do
  local entry = redis.call('XRANGE', KEYS[3], ARGV[i], ARGV[i])[1]
  if entry then
    local f = {}
    for j = 1, #entry[2], 2 do
      f[entry[2][j]] = entry[2][j + 1]
    end
    if f.id and f.payload and redis.call('HEXISTS', KEYS[1], f.id) == 0 then
      redis.call('ZADD', KEYS[2], now, f.id)
      redis.call('HSET', KEYS[1], f.id, 'p 0 0 ' .. now .. '\n' .. f.payload)
      redis.call('XDEL', KEYS[3], ARGV[i])
      moved = moved + 1
    end
  end
end
return {now, moved}
