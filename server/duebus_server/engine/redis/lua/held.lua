-- Checks which leases are still held.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      fencing tokens of leases, 8 bytes each
--   8...   their packed ids
-- returns  {result, ...}, one per lease, see common.lua
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

local _, _, _, results = find_held(ARGV[6], 7)
return results
