-- Put before the scripts that read a stream.

-- The payload of an entry: the value of the named field; without a name, or where the
-- entry has no such field, all fields as a JSON object, in their order.
local function payload_of(fields, name)
  if name ~= '' then
    for i = 1, #fields, 2 do
      if fields[i] == name then
        return fields[i + 1]
      end
    end
  end
  local parts = {}
  for i = 1, #fields, 2 do
    parts[#parts + 1] = cjson.encode(fields[i]) .. ':' .. cjson.encode(fields[i + 1])
  end
  return '{' .. table.concat(parts, ',') .. '}'
end

-- The time in ms that an entry's id begins with.
local function entry_ms(id)
  return tonumber(string.match(id, '^(%d+)'))
end

-- Ends what the group knows of entries that have become records.
local function settle_entries(source, group, ids, delete)
  redis.call('XACK', source, group, unpack(ids))
  if delete then
    redis.call('XDEL', source, unpack(ids))
  end
end
