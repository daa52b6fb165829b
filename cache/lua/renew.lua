-- Keeps a fill lease for a fill that takes long.
-- KEYS[1]  the fill lease
-- ARGV[1]  the token that it was taken with
-- ARGV[2]  how long to keep it, in milliseconds
-- Returns 1 when it was ours, 0 when it was not: then it must not be renewed again.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
