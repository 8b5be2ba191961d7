-- Removes everything that is left of a partition, unless another change has taken it over meanwhile.
--
-- KEYS     topic, every group
-- ARGV     1..6 as in partitions.lua
--   7      whether the topic is being deleted, so that its subscribers must be notified (0, 1)
-- returns  {now, how many events it held}
-- runs on closed partitions too
-- includes deleting
-- includes partitions

if read_partitions() ~= CLOSED then
  return { whole(now), 0 }
end
local removed = redis.call('HLEN', topic_key('events'))
clear()
redis.call('UNLINK', topic_key('config'))
if ARGV[7] == '1' then
  publish_change('deleted', '')
end
return { whole(now), removed }
