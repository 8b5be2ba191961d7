-- Adds a topic to the list of topics, which is in order of their names, even when memory is full.
--
-- KEYS[1]  the sorted set of topics; all scores are 0
-- ARGV     1..5 as in common.lua
--   6      the topic
-- returns  nothing
-- runs on closed partitions too

regardless_of_memory()
redis.call('ZADD', KEYS[1], 0, ARGV[6])
