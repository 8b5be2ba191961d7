-- Takes a lock that nobody holds.
--
-- KEYS[1]  the lock
-- ARGV     1..5 as in common.lua
--   6      key of its fencing number
--   7      token of the holder
--   8      expiry, milliseconds
-- returns  the fencing number, or 0 when another holds the lock

if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
regardless_of_memory()
-- The time, so that the numbers grow also across a Redis that has lost everything.
local fence = math.max(now, tonumber(redis.call('GET', ARGV[6]) or 0) + 1)
redis.call('SET', ARGV[6], whole(fence))
redis.call('SET', KEYS[1], ARGV[7], 'PX', ARGV[8])
return fence
