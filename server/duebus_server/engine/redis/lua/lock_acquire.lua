-- Takes a lock that nobody holds.
--
-- KEYS[1]  the lock
-- ARGV     1..5 as in common.lua
--   6      token of the holder
--   7      expiry, milliseconds
-- returns  1, or 0 if another replica holds the lock

if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
regardless_of_memory()
redis.call('SET', KEYS[1], ARGV[6], 'PX', ARGV[7])
return 1
