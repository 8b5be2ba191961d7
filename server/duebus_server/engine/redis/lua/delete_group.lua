-- A group is gone: nobody leases from it or settles in it any more. Its copies of events are put aside for dispose.lua.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      group
-- returns  {now, '' or what there is none of, how many copies it had}
-- includes leases
-- includes naming
-- includes deleting

regardless_of_memory()
local group, missing = find_group(ARGV[6])
if not group then
  return { whole(now), missing }
end
check_keys(group)
redis.call('SCARD', topic_key('deleted'))

local copies = 0
local number = redis.call('HINCRBY', topic_key('meta'), 'deletions', 1)
for _, name in ipairs(SETS) do
  local count = redis.call('ZCARD', group_key(group, name))
  if count > 0 then
    redis.call('RENAME', group_key(group, name), aside_key(number, name))
    copies = copies + count
  end
end
if copies > 0 then
  redis.call('SADD', topic_key('deleted'), number)
end

redis.call('SREM', topic_key('groups'), group)
redis.call('UNLINK', unpack(keys_of(group)))
tell_change('deleted', group)
return { whole(now), '', copies }
