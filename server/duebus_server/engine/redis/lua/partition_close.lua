-- Closes a partition: it takes nothing any more, and its subscribers join elsewhere.
--
-- KEYS     topic, every group
-- ARGV     1..6 as in partitions.lua
-- returns  'late'; 'held' when it holds events; or ''
-- runs on closed partitions too
-- includes deleting
-- includes partitions

if is_late() then
  return LATE
end
if holds_events() then
  return HELD
end
write_partitions('1')
return ''
