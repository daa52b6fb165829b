-- Stores an entry under a second name, as long as the first is there unchanged.
-- KEYS[1]  the first name
-- KEYS[2]  the second name, in the same slot
-- ARGV[1]  the last 8 bytes of the entry under the first name: its checksum
-- ARGV[2]  the entry for the second name
-- ARGV[3]  its lifetime in milliseconds
-- Returns 1 when it was stored, 0 when the first is gone or another.
if redis.call('GETRANGE', KEYS[1], -8, -1) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
