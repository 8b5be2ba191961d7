-- Decides a change: it can be completed, and can no longer be taken over.
--
-- KEYS     topic, every group
-- ARGV     1..6 as in partitions.lua
--   7      the number that the topic is to have; 0: none, it is deleted
--   8...   as `take_over` in partitions.lua reads it, if that number is 1 and was another
-- returns  'replaced' if another replica has taken over, and nothing was changed; or ''
-- runs on closed partitions too
-- includes deleting
-- includes partitions

local count, is_decided, _, id = read_change()
if is_decided or id ~= CHANGE then
  return REPLACED
end
regardless_of_memory()
if tonumber(ARGV[7]) ~= count then
  clear()
  take_over(8)
end
write_change(count, DECIDED, ARGV[7])
return ''
