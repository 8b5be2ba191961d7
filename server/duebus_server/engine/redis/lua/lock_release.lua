-- Gives a lock back, for its holder only.
--
-- KEYS[1]  the lock
-- ARGV     1..5 as in common.lua
--   6      token of the holder
-- returns  1, or 0 when the lock is another's by now

if redis.call('GET', KEYS[1]) ~= ARGV[6] then
  return 0
end
return redis.call('DEL', KEYS[1])
