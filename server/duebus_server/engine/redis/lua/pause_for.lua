-- Pauses a group for some time, as a nack does: nothing is leased from it until then. A longer pause stays.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      for how long, microseconds
-- returns  nothing
-- includes policies

regardless_of_memory()
policies().pause_group(ARGV[6], now + tonumber(ARGV[7]))
