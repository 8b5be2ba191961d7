-- Removes the note of where a schedule is, unless it says something else by now.
--
-- KEYS[1]  the hash of schedules
-- ARGV     1..5 as in common.lua
--   6, 7   its name, and the partition that it was noted for, as text
-- returns  whether it was removed (0, 1)
-- runs on closed partitions too

if redis.call('HGET', KEYS[1], ARGV[6]) ~= ARGV[7] then
  return 0
end
return redis.call('HDEL', KEYS[1], ARGV[6])
