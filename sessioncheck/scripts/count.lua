-- Counts the bits that are set in any of several bitmaps.
--
-- KEYS[1] a key of this call's own: it is gone when the call ends
-- KEYS[2] and further: bitmaps, in the slot of KEYS[1]
--
-- Returns the number.

redis.call('BITOP', 'OR', unpack(KEYS))
local n = redis.call('BITCOUNT', KEYS[1])
redis.call('DEL', KEYS[1])
return n
