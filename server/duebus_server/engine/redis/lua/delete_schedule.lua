-- Removes a schedule.
--
-- KEYS     topic
-- ARGV     1..5 as in common.lua
--   6      its name
-- returns  whether there was one (0, 1)
-- includes schedules

redis.call('ZCARD', due_key)
local removed = redis.call('HDEL', schedules_key, ARGV[6])
redis.call('ZREM', due_key, ARGV[6])
return removed
