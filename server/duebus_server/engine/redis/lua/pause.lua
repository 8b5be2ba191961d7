-- Pauses a group: nothing is leased from it until it is resumed. Its sessions are woken, and find it paused.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
-- returns  {now, '' or what is missing, now}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming

regardless_of_memory()
local group, missing = find_group(ARGV[6])
if not group then
  return { whole(now), missing }
end
wake(group, now)
redis.call('HSET', group_key(group, 'group'), 'paused', '1')
return { whole(now), '', whole(now) }
