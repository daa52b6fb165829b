-- Replaces an entry by its soft-purged form, unless it has changed meanwhile.
-- KEYS[1]  the entry
-- ARGV[1]  the last 8 bytes of the entry as it was read: its checksum
-- ARGV[2]  the new form
-- Returns 1 when it was replaced, 0 when another entry, or none, is there.
if redis.call('GETRANGE', KEYS[1], -8, -1) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
