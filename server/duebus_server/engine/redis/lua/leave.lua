-- Removes a session from its group. Its leases stay.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      session
-- returns  now

redis.call('HDEL', group_key(ARGV[6], 'sessions'), ARGV[7])
return whole(now)
