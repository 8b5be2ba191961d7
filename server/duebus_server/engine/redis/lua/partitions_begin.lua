-- Begins to change a topic's number of partitions, or to delete a topic that has several: the topic is closed.
--
-- KEYS     topic, every group
-- ARGV     1..6 as in partitions.lua
--   7      the number it is to have; 0: it is to be deleted; any other text: only to go on with what has begun
-- returns  'late'; 'held' when it holds events; or {how many it has, how many it is to have}, which is what an earlier change
--          wanted where that was not finished
-- runs on closed partitions too
-- includes deleting
-- includes partitions

local count, unfinished = read_partitions()
local wanted = unfinished or tonumber(ARGV[7]) or count
if is_late() then
  return LATE
end
regardless_of_memory()
if wanted ~= count then
  if count == 1 and holds_events() then
    return HELD
  end
  write_partitions(count .. '>' .. wanted)
end
return { count, wanted }
