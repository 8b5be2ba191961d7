-- Removes a topic whose partitions are gone.
--
-- KEYS     topic, every group
-- ARGV     1..6 as in partitions.lua
-- returns  'late' or ''
-- runs on closed partitions too
-- includes deleting
-- includes partitions

if is_late() then
  return LATE
end
clear()
redis.call('UNLINK', topic_key('config'))
tell_change('deleted', '')
return ''
