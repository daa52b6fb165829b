-- Ends leases without a delivery: after a failed attempt, or to give tasks back.
-- Fenced: a lease that the caller does not hold is left alone, so running it twice,
-- or late, changes nothing.
--
-- KEYS[1] records  KEYS[2] leases  KEYS[3] retry
-- ARGV    triples: lease member, "r" (a failed attempt) or "b" (given back: no attempt
--         is consumed), delay in ms (-1: due at once, in its original order); at most
--         1000 triples
--
-- Returns {now in ms, ms until the first retry is due or -1, tasks moved}.

local now, moved = redis_ms(), 0
allow_memory(KEYS[2])
for i = 1, #ARGV, 3 do
  local member, delay = ARGV[i], tonumber(ARGV[i + 2])
  local id = id_of(member)
  if redis.call('ZSCORE', KEYS[2], member) then
    local envelope = redis.call('HGET', KEYS[1], id)
    if envelope then -- else an earlier owner has acknowledged it
      local e = parse(envelope)
      redis.call('ZADD', KEYS[3], delay < 0 and e.since or now + delay, id)
      if ARGV[i + 1] == 'r' then
        e.reason, e.attempts = 'r', e.attempts + 1
        redis.call('HSET', KEYS[1], id, pack(e))
      end
      moved = moved + 1
    end
    redis.call('ZREM', KEYS[2], member)
  end
end
return {now, until_head(KEYS[3], now), moved}
