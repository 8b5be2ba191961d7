-- Removes a session from its group. Its leases stay.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      session
--   8      how long the subscriber was asked to wait before it reconnects, microseconds
-- returns  until when an ephemeral group without sessions is kept, or -1
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes leaving

regardless_of_memory()
return remove_sessions(ARGV[6], { ARGV[7] }, tonumber(ARGV[8]))
