-- Prepares a partition to be opened: empty, with the topic's settings and groups. One that is open, or that this change
-- has closed, stays as it is.
--
-- KEYS     topic, every group
-- ARGV     1..6 as in partitions.lua
--   7      the number of names and values of settings, and these; then what `take_over` in partitions.lua reads
-- returns  nothing
-- runs on closed partitions too
-- includes deleting
-- includes partitions

local found = read_partitions()
if found == OPEN or found == CLOSED then
  return
end
regardless_of_memory()
clear()
redis.call('DEL', topic_key('config'))
local count = tonumber(ARGV[7])
if count > 0 then
  redis.call('HSET', topic_key('config'), unpack(ARGV, 8, 7 + count))
end
take_over(8 + count)
write_partitions(CLOSED)
