-- Tells when a group next has something to lease.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
-- returns  the time, or -1
-- includes leases

return answer_time(next_due(ARGV[6]))
