-- Ends a change that is completed: the topic is open with the number of partitions that was decided, or is gone.
--
-- KEYS     topic
-- ARGV     1..6 as in partitions.lua
-- returns  now
-- runs on closed partitions too
-- includes deleting
-- includes partitions

local _, is_decided, wanted, id = read_change()
if is_decided and id == CHANGE then
  regardless_of_memory()
  if wanted == 0 then
    redis.call('UNLINK', topic_key('config'))
  elseif wanted == 1 then
    redis.call('HDEL', topic_key('config'), 'partitions')
  else
    write_partitions(wanted)
  end
  publish_change(wanted == 0 and 'deleted' or 'moved', '')
end
return whole(now)
