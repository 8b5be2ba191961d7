-- Resumes a group, and wakes its sessions on every replica.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
-- returns  {now, '' or what is missing, next due or -1}
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
check_keys(group)
-- A session that has found the group paused does not lease again by itself.
if redis.call('HDEL', group_key(group, 'group'), 'paused') == 1 then
  redis.call('HSET', group_key(group, 'group'), 'wake_at', whole(NEVER))
end
wake(group, next_due(group))
return { whole(now), '', answer_time(next_due(group)) }
