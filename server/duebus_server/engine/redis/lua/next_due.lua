-- includes leases
-- When a group next has something to lease.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      group
-- returns  the time, or -1

return answer_time(next_due(ARGV[6]))
