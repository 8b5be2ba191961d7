-- Releases a lock, for its holder only.
--
-- KEYS[1]  the lock
-- ARGV     1..5 as in common.lua
--   6      token of the holder
-- returns  1, or 0 if another replica holds the lock now

if redis.call('GET', KEYS[1]) ~= ARGV[6] then
  return 0
end
return redis.call('DEL', KEYS[1])
