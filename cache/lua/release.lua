-- Gives a fill lease back.
-- KEYS[1]  the fill lease
-- ARGV[1]  the token that it was taken with
-- Returns 1 when it was ours, 0 when it was not.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
