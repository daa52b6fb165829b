-- Removes delivered tasks, as ack.lua does, and leases others: due retries first, then
-- fresh tasks from the source.
--
-- KEYS[1] source: a list, a sorted set with due times as scores, or a stream
-- KEYS[2] records: hash, id -> envelope
-- KEYS[3] leases: sorted set, "<id>|<token>" -> expiry in ms
-- KEYS[4] retry: sorted set, id -> due in ms
-- KEYS[5] this process's last claim: string "<seq> <time in ms> <number of fresh tasks> <id of a
--         retry> <id> ...", expiring
-- KEYS[6] control: hash with "paused", "tat" (rate limit: the theoretical arrival time of
--         the next task, in us) and "taken" (tasks taken from the source so far)
-- ARGV[1] "left" or "right" (the end of a list), "delay" or "stream"
-- ARGV[2] prefix of the ids of fresh tasks, unique to this claim; see take_fresh
-- ARGV[3] lease token
-- ARGV[4] most tasks to take, at most 1000
-- ARGV[5] lease in ms
-- ARGV[6] sequence number of this claim
-- ARGV[7] Redis time in ms after which this call must do nothing
-- ARGV[8] lifetime of KEYS[5] in ms, longer than a call may be under way
-- ARGV[9] "1": strictly in order, one task at a time over all agents
-- ARGV[10] rate limit: us from task to task over all agents; "0": none
-- ARGV[11] rate limit: tasks that may come at once after a pause
-- ARGV[12] units of a delay score in a second: "1" or "1000"
-- ARGV[13] consumer group  ARGV[14] field of the payload, or ""  ARGV[15] "1": XDEL what
--         was taken (a stream)
-- ARGV[16..] lease members of delivered tasks, at most 1000
--
-- Returns {now in ms, ms until there may be a task or -1, delivered tasks that were still there,
-- status, last entry id that the group was given or "", id, envelope, id, envelope, ...}. Status is "", "late", the error of the source
-- (say, WRONGTYPE), or why there may be tasks that must not be taken yet: "paused", "limited"
-- (the rate) or "busy" (the task before is not done).
--
-- The same sequence number again returns what is left of the same batch: a lost reply
-- costs nothing. A copy of an older claim that was stuck in a socket does nothing: it
-- would lease tasks to nobody, under ids that are in use.
--
-- A Redis that is at its maxmemory can still be drained. Where Redis refuses a record or
-- a lease, every task stays where it was, or goes back there: a list gives its elements only by
-- removing them. Of a stream they stay with the group, for adopt.lua.

local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local source, records, leases, retry, last_claim, control = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local kind, token, n, seq = ARGV[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
-- Numbers that go out once for each task are made text once.
local now_ms, expiry = string.format('%.0f', now), string.format('%.0f', now + tonumber(ARGV[5]))
-- A reply holds about this many bytes of payload at most, and always one task.
local BUDGET = 4 * 1024 * 1024
-- How long a FIFO queue waits for the task that another agent has, and a paused one
-- before it looks again, in ms. Together with the reaper's rounds, which are at least
-- 500 ms apart, that must stay below five scripts a second.
local FIFO_POLL, PAUSE_POLL = 500, 1000
-- The id of a fresh task: the claim, the time and a number. The time is in it for a claim
-- that is repeated after KEYS[5] has expired, by an agent that was cut off for so long: it
-- takes new tasks then, and under the old ids it would write them over the old ones,
-- which others may have now. The number has zeros in front, so that tasks of one batch
-- stay in order in the retry set too.
local FRESH_ID = '%s-%s-%04d'

-- First, since it is right in any case, and it frees memory and the turn of a FIFO queue.
local acked = 0
if #ARGV > 15 then
  acked = ack(records, leases, retry, {unpack(ARGV, 16)})
end

if now > tonumber(ARGV[7]) then
  return {now, -1, acked, 'late', ''}
end
allow_memory(leases)

local last = redis.call('GET', last_claim)
if last then
  local last_seq, at, n_fresh, retry_ids = string.match(last, '^(%d+) (%d+) (%d+)(.*)$')
  if tonumber(last_seq) > seq then
    return {now, -1, acked, 'late', ''}
  end
  if tonumber(last_seq) == seq then
    local out = {now, -1, acked, '', ''}
    local function again(id)
      local member = id .. '|' .. token
      local envelope = redis.call('HGET', records, id)
      if envelope and redis.call('ZSCORE', leases, member) then
        redis.call('ZADD', leases, expiry, member)
        out[#out + 1] = id
        out[#out + 1] = envelope
      end
    end
    for id in string.gmatch(retry_ids, '%S+') do
      again(id)
    end
    for i = 1, tonumber(n_fresh) do
      again(string.format(FRESH_ID, ARGV[2], at, i))
    end
    return out
  end
end

local settings = redis.call('HMGET', control, 'paused', 'tat')
if settings[1] then
  return {now, PAUSE_POLL, acked, 'paused', ''}
end

-- The rate limit is a leaky bucket as a meter (GCRA), shared by all agents.
local interval, tat, now_us = tonumber(ARGV[10]), 0, tonumber(t[1]) * 1e6 + tonumber(t[2])
local limited = false
if interval > 0 then
  -- A claim moves tat ahead by the burst at most. If it is further, the limit was another then,
  -- or the clock has been set back, and no task is to wait for that time.
  local burst = tonumber(ARGV[11]) * interval
  tat = math.max(tonumber(settings[2]) or 0, now_us)
  if tat > now_us + burst then
    tat = now_us + burst
    redis.pcall('HSET', control, 'tat', string.format('%.0f', tat))
  end
  local room = now_us + burst - tat
  if room < interval then
    return {now, math.ceil((interval - room) / 1000), acked, 'limited', ''}
  end
  room = math.floor(room / interval)
  limited = room < n
  n = math.min(n, room)
end

local retries_only = false
if ARGV[9] == '1' then
  n = 1
  if #redis.call('ZRANGE', leases, 0, 0) > 0 then
    return {now, FIFO_POLL, acked, 'busy', ''}
  end
  local wait = until_head(retry, now)
  if wait > 0 then
    return {now, wait, acked, 'busy', ''}
  end
  retries_only = wait == 0
end

local status, reply = '', {now, -1, acked, '', ''}
local retried, leased, fresh = {}, {}, {}
local count, taken, bytes = 0, 0, 0 -- tasks, fresh ones among them, and the size of all envelopes
local suffix = '|' .. token

local function take(id, envelope)
  count = count + 1
  reply[4 + 2 * count] = id
  reply[5 + 2 * count] = envelope
  leased[2 * count - 1] = expiry
  leased[2 * count] = id .. suffix
  bytes = bytes + #envelope
end

local function take_fresh(payload, since)
  taken = taken + 1
  local id = string.format(FRESH_ID, ARGV[2], now_ms, taken)
  local envelope = 'f 0 0 ' .. since .. '\n' .. payload
  fresh[2 * taken - 1] = id
  fresh[2 * taken] = envelope
  take(id, envelope)
end

-- How many tasks to ask for next: one first, then what the budget has room for when the
-- others are as large.
local function chunk()
  local want = n - count
  if count == 0 then
    return math.min(want, 1)
  end
  return math.min(want, math.floor((BUDGET - bytes) * count / math.max(bytes, 1)))
end

-- What is taken from retry or from a sorted set is removed when it is leased: so these skip
-- what they have taken already.
local function from_retry(want)
  local due = redis.call('ZRANGEBYSCORE', retry, '-inf', now, 'LIMIT', #retried, want)
  if #due == 0 then
    return 0
  end
  local envelopes, empty = redis.call('HMGET', records, unpack(due)), {}
  for i = 1, #due do
    if envelopes[i] then
      retried[#retried + 1] = due[i]
      take(due[i], envelopes[i])
    else -- it was acknowledged late, by an earlier owner
      empty[#empty + 1] = due[i]
    end
  end
  if #empty > 0 then
    redis.call('ZREM', retry, unpack(empty))
  end
  return #due
end

-- Errors of the source must not end the script: there may be retries. given is what it gave: payloads,
-- members or ids of entries.
local from, given = {}, {}

local function from_list(pop, want)
  local payloads = redis.pcall(pop, source, want) or {}
  if payloads.err then
    status = payloads.err
    return 0
  end
  for i = 1, #payloads do
    given[#given + 1] = payloads[i]
    take_fresh(payloads[i], now_ms)
  end
  return #payloads
end
from.left = function(want) return from_list('LPOP', want) end
from.right = function(want) return from_list('RPOP', want) end

from.delay = function(want)
  local units = tonumber(ARGV[12])
  local bound = t[1] .. '.' .. string.format('%06d', tonumber(t[2]))
  if units == 1000 then
    bound = string.format('%.3f', now_us / 1000)
  end
  local due = redis.pcall('ZRANGEBYSCORE', source, '-inf', bound, 'WITHSCORES', 'LIMIT', #given, want)
  if due.err then
    status = due.err
    return 0
  end
  for i = 1, #due, 2 do
    local score = tonumber(due[i + 1])
    given[#given + 1] = due[i]
    take_fresh(due[i], since_of(score and score * 1000 / units, now))
  end
  return #due / 2
end

local last_id = ''

from.stream = function(want)
  local group = ARGV[13]
  local got
  for try = 1, 2 do
    got = redis.pcall('XREADGROUP', 'GROUP', group, 'pillion', 'COUNT', want, 'STREAMS', source, '>')
    if not got or not got.err then
      break
    end
    if try == 2 or not string.find(got.err, 'NOGROUP', 1, true) then
      status = got.err
      return 0
    end
    if redis.call('EXISTS', source) == 0 then
      return 0 -- the group is made when there is a stream
    end
    -- From the start, not from its end: what was added before is a task too.
    local made = redis.pcall('XGROUP', 'CREATE', source, group, '0')
    if made.err then
      status = made.err
      return 0
    end
  end
  local entries = got and got[1] and got[1][2] or {}
  for i = 1, #entries do
    given[#given + 1] = entries[i][1]
    take_fresh(payload_of(entries[i][2] or {}, ARGV[14]), since_of(entry_ms(entries[i][1]), now))
    last_id = entries[i][1]
  end
  return #entries
end

-- Takes chunks until there is nothing more, or no room; true: no room.
local function fill(take_some)
  while count < n do
    local want = chunk()
    if want < 1 then
      return true
    end
    if take_some(want) < want then
      return false
    end
  end
  return false
end

local full = fill(from_retry)
if not full and not retries_only then
  full = fill(from[kind])
end

-- Gives Redis's error when it refuses a command.
local function refused(...)
  local got = redis.pcall(...)
  return type(got) == 'table' and got.err and got
end

-- Leases what was taken; when that is refused, it gives the error.
local function lease()
  return count > 0 and refused('ZADD', leases, unpack(leased)) or taken > 0 and refused('HSET', records, unpack(fresh))
end

local function put_back()
  for i = 2, #leased, 2 do
    redis.pcall('ZREM', leases, leased[i])
  end
  local push = kind == 'left' and 'LPUSH' or kind == 'right' and 'RPUSH'
  for i = push and #given or 0, 1, -1 do
    redis.pcall(push, source, given[i])
  end
end

local err = lease()
if err then
  put_back()
  return err
end
if #retried > 0 then
  redis.call('ZREM', retry, unpack(retried))
end
if #given > 0 and kind == 'delay' then
  redis.call('ZREM', source, unpack(given))
elseif #given > 0 and kind == 'stream' then
  settle_entries(source, ARGV[13], given, ARGV[15] == '1')
end
if interval > 0 and count > 0 then
  redis.pcall('HSET', control, 'tat', string.format('%.0f', tat + count * interval))
end
if taken > 0 then
  redis.pcall('HINCRBY', control, 'taken', taken)
end
-- Fails only when Redis is full and nothing was taken; then nothing is lost by it.
redis.pcall('SET', last_claim, seq .. ' ' .. now_ms .. ' ' .. taken .. ' ' .. table.concat(retried, ' '), 'PX', ARGV[8])

-- The entry that the group has been given last: from there a reader can wait.
local function last_delivered()
  local groups = redis.pcall('XINFO', 'GROUPS', source)
  if groups.err then
    return ''
  end
  for _, group in ipairs(groups) do
    local name, id
    for i = 1, #group, 2 do
      if group[i] == 'name' then name = group[i + 1] end
      if group[i] == 'last-delivered-id' then id = group[i + 1] end
    end
    if name == ARGV[13] then
      return id or ''
    end
  end
  return ''
end

local wait = -1
if full then
  wait = 0
elseif limited and count == n then
  wait, status = math.ceil(interval / 1000), status == '' and 'limited' or status
elseif count < n and status == '' then
  wait = until_head(retry, now)
  if kind == 'delay' then
    local head = redis.call('ZRANGE', source, 0, 0, 'WITHSCORES')
    local at = head[2] and tonumber(head[2])
    if at then
      at = at * 1000 / tonumber(ARGV[12])
      if at < 1e15 then -- not inf; later than this is a matter for another year
        at = math.max(0, math.ceil(at - now_us / 1000))
        if wait < 0 or at < wait then
          wait = at
        end
      end
    end
  end
  if kind == 'stream' and last_id == '' then
    last_id = last_delivered()
  end
end
reply[2], reply[4], reply[5] = wait, status, last_id
return reply
