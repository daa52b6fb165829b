-- Proves what must hold between records, leases and retries. Only a script can: while
-- tasks move, two reads never show one moment.
--
-- KEYS[1] records  KEYS[2] leases  KEYS[3] retry  KEYS[4] dead
-- ARGV[1] "scan": look at a page of the records, or "judge": look at some ids
-- ARGV[2] scan: cursor                judge: "1" to repair what is wrong
-- ARGV[3] scan: about how many        judge: this and what follows: ids, at most 1000
--
-- scan returns {next cursor, bytes of the page, id, "1" or "0", ...}: the ids that do not
-- wait in retry, those that are leased among them, with "0"; and those whose envelope is
-- no envelope, with "1".
-- judge returns {id, what is wrong, "1" repaired or "0", ...} for each fault of the ids;
-- an id that is at peace, or is gone, is left out.

local records, leases, retry, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ENVELOPE = '^[frcp] %d+ %d+ %d+\n'

if ARGV[1] == 'scan' then
  local page = redis.call('HSCAN', records, ARGV[2], 'COUNT', ARGV[3])
  local out, bytes = {page[1], 0}, 0
  for i = 1, #page[2], 2 do
    local id, envelope = page[2][i], page[2][i + 1]
    bytes = bytes + #envelope
    local damaged = not string.find(envelope, ENVELOPE)
    if damaged or not redis.call('ZSCORE', retry, id) then
      out[#out + 1] = id
      out[#out + 1] = damaged and '1' or '0'
    end
  end
  out[2] = bytes
  return out
end

local now, repair, out = redis_ms(), ARGV[2] == '1', {}
-- Times before 1973 or more than ten years ahead are not times that anybody meant.
local EARLIEST, LATEST = 1e11, now + 10 * 366 * 86400 * 1000

local function fault(id, what)
  out[#out + 1] = id
  out[#out + 1] = what
  out[#out + 1] = repair and '1' or '0'
  return repair
end

local function plausible(score)
  local at = tonumber(score)
  return at and at >= EARLIEST and at <= LATEST
end

local held = {}
for i = 3, #ARGV do
  held[ARGV[i]] = {}
end
for from = 0, redis.call('ZCARD', leases) - 1, 1000 do
  local part = redis.call('ZRANGE', leases, from, from + 999, 'WITHSCORES')
  for i = 1, #part, 2 do
    local at = string.find(part[i], '|', 1, true)
    local list = held[at and string.sub(part[i], 1, at - 1) or part[i]]
    if list then
      list[#list + 1] = {member = part[i], expiry = part[i + 1], named = at ~= nil}
    end
  end
end

local function end_leases(list, last)
  for i = 1, last do
    redis.call('ZREM', leases, list[i].member)
  end
end

-- The times of what is left by then.
local function judge_times(id, list)
  local lease, due = list[#list], redis.call('ZSCORE', retry, id)
  if lease and not plausible(lease.expiry) and fault(id, 'bad_lease_time') then
    redis.call('ZADD', leases, now, lease.member) -- ends now, and is reaped
  end
  if due and not plausible(due) and fault(id, 'bad_due_time') then
    redis.call('ZADD', retry, now, id)
  end
end

local function judge(id, list)
  local envelope, due = redis.call('HGET', records, id), redis.call('ZSCORE', retry, id)
  local named = {}
  for i = 1, #list do
    if list[i].named then
      named[#named + 1] = list[i]
    end
  end
  if #named < #list then
    if not fault(id, 'bad_lease') then
      return
    end
    redis.call('ZREM', leases, id)
    list = named -- without another, its task, if there is one, is an orphan now
  end
  if not envelope then
    if #list > 0 and fault(id, 'empty_lease') then
      end_leases(list, #list)
    end
    if due and fault(id, 'empty_retry') then
      redis.call('ZREM', retry, id)
    end
    return
  end
  if not string.find(envelope, ENVELOPE) then
    if fault(id, 'bad_record') then
      bury(records, leases, dead, id, {attempts = 0, abandons = 0, since = now, payload = envelope},
        'damaged', 'its record could not be read: the payload is the whole record')
      end_leases(list, #list)
      redis.call('ZREM', retry, id)
    end
    return
  end
  if #list > 1 and fault(id, 'leased_twice') then
    end_leases(list, #list - 1) -- the one that lasts longest is the newest
  end
  if #list > 0 and due and fault(id, 'leased_and_waiting') then
    redis.call('ZREM', retry, id)
  end
  if #list == 0 and not due and fault(id, 'orphan') then
    redis.call('ZADD', retry, parse(envelope).since, id)
  end
  judge_times(id, list)
end

for i = 3, #ARGV do
  if held[ARGV[i]] then
    judge(ARGV[i], held[ARGV[i]])
    held[ARGV[i]] = nil -- once, if it is named twice
  end
end
return out
