-- Reads dead letters one after the other, until a bound is reached: a stream may be long
-- and its payloads large, and neither Redis nor the caller is to hold all of it.
--
-- KEYS[1] dead
-- ARGV[1] lowest entry id  ARGV[2] highest entry id
-- ARGV[3] "old": from the lowest on, "new": from the highest on
-- ARGV[4] most entries to read
-- ARGV[5] bytes after which no further entry is read
-- ARGV[6] bytes of each payload to return; "-1": all of them
--
-- Returns {1: there may be more, 0: that was all, entry, entry, ...}; an entry is {entry
-- id, bytes of the payload or -1, field, value, field, value, ...}.

local low, high, newest = ARGV[1], ARGV[2], ARGV[3] == 'new'
local most, budget, keep = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local out, bytes = {1}, 0

-- The next entries: one at first, then some at a time if they are small.
local function read()
  local count = 1
  if #out > 1 and bytes / (#out - 1) < 65536 then
    count = math.min(8, most + 1 - #out)
  end
  if newest then
    return redis.call('XREVRANGE', KEYS[1], high, low, 'COUNT', count)
  end
  return redis.call('XRANGE', KEYS[1], low, high, 'COUNT', count)
end

local function shown(got)
  local entry = {got[1], -1}
  for i = 1, #got[2], 2 do
    local name, value = got[2][i], got[2][i + 1]
    bytes = bytes + #name + #value
    if name == 'payload' then
      entry[2] = #value
      if keep >= 0 then
        value = string.sub(value, 1, keep)
      end
    end
    entry[#entry + 1] = name
    entry[#entry + 1] = value
  end
  return entry
end

while #out <= most and bytes < budget do
  local got = read()
  if #got == 0 then
    out[1] = 0
    break
  end
  for i = 1, #got do
    out[#out + 1] = shown(got[i])
  end
  if newest then
    high = '(' .. got[#got][1]
  else
    low = '(' .. got[#got][1]
  end
end
return out
