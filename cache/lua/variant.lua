-- Bounds the variants of one URL, so that a header that clients choose freely cannot
-- fill Redis.
-- KEYS[1]  the set of the variants' hashes, in the slot of the primary key
-- ARGV[1]  the hash of the variant that is to be stored
-- ARGV[2]  how many there may be
-- ARGV[3]  how long the set is kept, in milliseconds: as long as any of its variants
-- Returns 1 when the variant may be stored, 0 when there are too many others.
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then
  if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return 0
  end
  redis.call('SADD', KEYS[1], ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
