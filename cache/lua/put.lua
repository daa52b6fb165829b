-- Stores a response, if the fill that brings it was not overtaken by a purge.
-- KEYS[1]  the fill lease
-- KEYS[2]  the entry, in the same slot
-- ARGV[1]  the token that the lease was taken with
-- ARGV[2]  the entry
-- ARGV[3]  its lifetime in milliseconds
-- Returns 1 when it was stored; 0 when the lease is gone or another's: a purge
-- deletes it, and a slow fill loses it.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[1])
return 1
