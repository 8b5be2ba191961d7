-- Which leases are held still.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      group
--   7...   packed id, fencing token, ...
-- returns  {result, ...}, a result a lease: see common.lua
-- includes leases

local _, _, _, results = find_held(ARGV[6], 7, (#ARGV - 6) / 2, 2)
return results
