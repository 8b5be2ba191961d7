-- Renews a lock, for its holder only.
--
-- KEYS[1]  the lock
-- ARGV     1..5 as in common.lua
--   6      key of its fencing number
--   7      token of the holder
--   8      expiry, milliseconds
-- returns  1, or 0 when the lock is not its any more

if redis.call('GET', KEYS[1]) ~= ARGV[7] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[8])
