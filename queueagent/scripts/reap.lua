-- Takes leases away: those that have expired, or those named (a restarted agent names
-- its predecessor's). Their tasks are due again at once, in their original order; a
-- task that was abandoned too often goes to the dead letters as "poison".
--
-- KEYS[1] records  KEYS[2] leases  KEYS[3] retry  KEYS[4] dead
-- ARGV[1] abandons at which a task is poison
-- ARGV[2] most expired leases to take
-- ARGV[3..] lease members to take, expired or not; none: the expired ones
--
-- Returns {now in ms (0 when there is neither lease nor retry), leases taken, tasks due again, tasks found poison, ms until the
-- next lease expires or -1, ms until the first retry is due or -1}.

if #redis.call('ZRANGE', KEYS[2], 0, 0) == 0 and #redis.call('ZRANGE', KEYS[3], 0, 0) == 0 then
  return {0, 0, 0, 0, -1, -1} -- an idle queue must cost little
end
local now, members = redis_ms(), {}
if #ARGV > 2 then
  for i = 3, #ARGV do
    members[#members + 1] = ARGV[i]
  end
else
  members = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[2])
end
local requeued, poison = 0, 0
for i = 1, #members do
  local id = id_of(members[i])
  local envelope = redis.call('ZREM', KEYS[2], members[i]) == 1 and redis.call('HGET', KEYS[1], id)
  if envelope then
    local e = parse(envelope)
    e.reason, e.abandons = 'c', e.abandons + 1
    if e.abandons >= tonumber(ARGV[1]) then
      bury(KEYS[1], KEYS[4], id, e, 'poison', 'abandoned ' .. e.abandons .. ' times')
      poison = poison + 1
    else
      redis.call('ZADD', KEYS[3], e.first, id)
      redis.call('HSET', KEYS[1], id, pack(e))
      requeued = requeued + 1
    end
  end
end
return {now, #members, requeued, poison, until_head(KEYS[2], now), until_head(KEYS[3], now)}
