-- Closes a partition: it no longer accepts anything, and its subscribers join elsewhere.
--
-- KEYS     topic
-- ARGV     1..6 as in partitions.lua
--   7      whether to close it even if it holds events, because it is to be deleted (0, 1)
-- returns  'held' if it holds events or has schedules, and stays as it is; or ''
-- runs on closed partitions too
-- includes deleting
-- includes partitions

if has_schedules() or (ARGV[7] ~= '1' and is_in_use()) then
  return HELD
end
if read_partitions() then -- without keys, it can't be opened anyway
  regardless_of_memory()
  write_partitions(CLOSED)
end
return ''
