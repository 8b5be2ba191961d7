-- Gives a topic another number of partitions, or opens it again with the number it had.
--
-- KEYS     topic, every group
-- ARGV     1..6 as in partitions.lua
--   7      the number
--   8...   as `take_over` in partitions.lua reads it, where that number is 1; nothing where the topic goes on as it was
-- returns  'late' or ''
-- runs on closed partitions too
-- includes deleting
-- includes partitions

if is_late() then
  return LATE
end
regardless_of_memory()
local count = read_partitions()
local is_changed = tonumber(ARGV[7]) ~= count
if is_changed then
  clear()
end
if is_changed and #ARGV > 7 then
  take_over(8)
end
write_partitions(ARGV[7])
tell_change('moved', '')
return ''
