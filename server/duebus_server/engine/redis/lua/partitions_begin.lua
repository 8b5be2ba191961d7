-- Begins to change a topic's number of partitions, or to delete a topic of several: the topic is closed. A change that
-- another replica has begun is taken over, and that replica can no longer decide it. A change that is decided must be
-- completed.
--
-- KEYS     topic
-- ARGV     1..6 as in partitions.lua
--   7      the number it is to have; 0 to delete it; 'reopen' to reopen its partitions; '' to finish what another began
-- returns  nothing if there is nothing to do; 'held' if it holds events or has schedules, and stays as it is; 'moved' if it is to be
--          deleted and has one partition; or {how many it has, how many it is to have, id of the change, whether it is
--          decided (0, 1)}; the number and the id are those of an earlier change if that was not finished
-- runs on closed partitions too
-- includes deleting
-- includes partitions

local REOPEN = 'reopen'

local count, is_decided, unfinished, id = read_change()
if is_decided then
  return { count, unfinished, id, 1 }
end
local wanted = unfinished or tonumber(ARGV[7]) or count
if not unfinished and wanted == count and (ARGV[7] ~= REOPEN or count == 1) then
  return false
end
if count == 1 and wanted == 0 then
  return 'moved'
end
if count == 1 and is_in_use() then
  return HELD
end
regardless_of_memory()
write_change(count, TO_BE_DECIDED, wanted)
return { count, wanted, CHANGE, 0 }
