-- Adds members to a set, also when the memory is full: by these notes other replicas find what there is.
--
-- KEYS[1]  the set
-- ARGV     1..5 as in common.lua
--   6...   members
-- returns  nothing
-- runs on closed partitions too

regardless_of_memory()
redis.call('SADD', KEYS[1], unpack(ARGV, 6))
