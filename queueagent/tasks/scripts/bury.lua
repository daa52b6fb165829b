-- Moves tasks to the dead letters. Fenced as nack.lua is.
--
-- KEYS[1] records  KEYS[2] leases  KEYS[3] dead: stream
-- ARGV    quadruples: lease member, reason, detail, "1" when the delivery was an
--         attempt, else "0"; at most 1000 quadruples
--
-- Returns the number of tasks moved.

local moved = 0
allow_memory(KEYS[2])
for i = 1, #ARGV, 4 do
  local id = id_of(ARGV[i])
  if redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    local envelope = redis.call('HGET', KEYS[1], id)
    if envelope then
      local e = parse(envelope)
      e.attempts = e.attempts + tonumber(ARGV[i + 3])
      bury(KEYS[1], KEYS[2], KEYS[3], id, e, ARGV[i + 1], ARGV[i + 2], ARGV[i])
      moved = moved + 1
    else
      redis.call('ZREM', KEYS[2], ARGV[i])
    end
  end
end
return moved
