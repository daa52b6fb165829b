-- Leases tasks to an agent: due retries first, then fresh tasks from the source.
--
-- KEYS[1] source: a list, or a sorted set with Unix seconds as scores
-- KEYS[2] records: hash, id -> envelope
-- KEYS[3] leases: sorted set, "<id>|<token>" -> expiry in ms
-- KEYS[4] retry: sorted set, id -> due in ms
-- KEYS[5] this process's last claim: string "<seq> <id> <id> ...", expiring
-- ARGV[1] "list" or "delay"
-- ARGV[2] prefix of the ids of fresh tasks, unique to this claim
-- ARGV[3] lease token
-- ARGV[4] most tasks to take, at most 1000
-- ARGV[5] lease in ms
-- ARGV[6] sequence number of this claim
-- ARGV[7] Redis time in ms after which this call must do nothing
-- ARGV[8] lifetime of KEYS[5] in ms, longer than a call may be under way
--
-- Returns {now in ms, ms until the next task is due or -1, status, id, envelope, id,
-- envelope, ...}. Status is "" or "late" or the error of the source (say, WRONGTYPE).
--
-- The same sequence number again returns what is left of the same batch: a lost reply
-- costs nothing. A copy of an older claim that was stuck in a socket does nothing: it
-- would lease tasks to nobody, under ids that are in use.
--
-- No command that needs memory comes before one that frees it, so a Redis that is at
-- its maxmemory can still be drained.

local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local source, records, leases, retry, last_claim = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local token, n, seq = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
local expiry = now + tonumber(ARGV[5])

if now > tonumber(ARGV[7]) then
  return {now, -1, 'late'}
end

local last = redis.call('GET', last_claim)
if last then
  local last_seq, last_ids = string.match(last, '^(%d+)(.*)$')
  if tonumber(last_seq) > seq then
    return {now, -1, 'late'}
  end
  if tonumber(last_seq) == seq then
    local out = {now, -1, ''}
    for id in string.gmatch(last_ids, '%S+') do
      local member = id .. '|' .. token
      local envelope = redis.call('HGET', records, id)
      if envelope and redis.call('ZSCORE', leases, member) then
        redis.call('ZADD', leases, expiry, member)
        out[#out + 1] = id
        out[#out + 1] = envelope
      end
    end
    return out
  end
end

local status, ids, out, leased, fresh = '', {}, {}, {}, {}

local function take(id, envelope)
  ids[#ids + 1] = id
  out[#out + 1] = id
  out[#out + 1] = envelope
  leased[#leased + 1] = expiry
  leased[#leased + 1] = id .. '|' .. token
end

local due = redis.call('ZRANGEBYSCORE', retry, '-inf', now, 'LIMIT', 0, n)
if #due > 0 then
  redis.call('ZREM', retry, unpack(due))
  local envelopes = redis.call('HMGET', records, unpack(due))
  for i = 1, #due do
    if envelopes[i] then -- else it was acknowledged late, by an earlier owner
      take(due[i], envelopes[i])
    end
  end
end

-- An error must not end the script here: the retries above have been moved.
local function from_source(want)
  if ARGV[1] == 'list' then
    return redis.pcall('LPOP', source, want)
  end
  local now_s = t[1] .. '.' .. string.format('%06d', tonumber(t[2]))
  local members = redis.pcall('ZRANGEBYSCORE', source, '-inf', now_s, 'LIMIT', 0, want)
  if not members.err and #members > 0 then
    redis.call('ZREM', source, unpack(members))
  end
  return members
end

if #ids < n then
  local payloads = from_source(n - #ids) or {}
  status = payloads.err or ''
  for i = 1, #payloads do
    local id = ARGV[2] .. '-' .. i
    local envelope = 'f 0 0 ' .. now .. '\n' .. payloads[i]
    fresh[#fresh + 1] = id
    fresh[#fresh + 1] = envelope
    take(id, envelope)
  end
end
if #fresh > 0 then
  redis.call('HSET', records, unpack(fresh))
end
if #leased > 0 then
  redis.call('ZADD', leases, unpack(leased))
end
-- Fails only when Redis is full and nothing was taken; then nothing is lost by it.
redis.pcall('SET', last_claim, seq .. ' ' .. table.concat(ids, ' '), 'PX', ARGV[8])

local wait = -1
if #ids < n and status == '' then
  local head = redis.call('ZRANGE', retry, 0, 0, 'WITHSCORES')
  if head[2] then
    wait = math.max(0, tonumber(head[2]) - now)
  end
  if ARGV[1] == 'delay' then
    head = redis.call('ZRANGE', source, 0, 0, 'WITHSCORES')
    local at = head[2] and tonumber(head[2])
    if at and at < 1e12 then -- not inf; later than this is a matter for another year
      at = math.max(0, math.ceil((at - tonumber(t[1])) * 1000 - tonumber(t[2]) / 1000))
      if wait < 0 or at < wait then
        wait = at
      end
    end
  end
end
local reply = {now, wait, status}
for i = 1, #out do
  reply[#reply + 1] = out[i]
end
return reply
