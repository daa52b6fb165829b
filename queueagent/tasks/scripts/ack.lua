-- Removes delivered tasks. By id, whoever leases them now: what was delivered must not
-- be delivered again. Running it twice is harmless.
--
-- KEYS[1] records  KEYS[2] leases  KEYS[3] retry
-- ARGV    lease members "<id>|<token>", at most 1000
--
-- Returns how many tasks there were still to remove.

return ack(KEYS[1], KEYS[2], KEYS[3], ARGV)
