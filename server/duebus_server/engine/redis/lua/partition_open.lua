-- Opens a new partition, or an old one again after a change that was given up.
--
-- KEYS     topic, every group
-- ARGV     1..6 as in partitions.lua
--   7      how many names and values of settings follow, and those; then as `take_over` in partitions.lua reads it. Nothing
--          behind 6: it goes on as it is
-- returns  'late' or ''
-- runs on closed partitions too
-- includes deleting
-- includes partitions

if is_late() then
  return LATE
end
regardless_of_memory()
if #ARGV > 6 then
  clear()
  redis.call('DEL', topic_key('config'))
  local count = tonumber(ARGV[7])
  if count > 0 then
    redis.call('HSET', topic_key('config'), unpack(ARGV, 8, 7 + count))
  end
  take_over(8 + count)
end
write_partitions(tostring(PARTS))
return ''
