-- Adds members to a set, even when memory is full: other replicas rely on these notes.
--
-- KEYS[1]  the set
-- ARGV     1..5 as in common.lua
--   6...   members
-- returns  nothing
-- runs on closed partitions too

regardless_of_memory()
redis.call('SADD', KEYS[1], unpack(ARGV, 6))
