-- A session subscribes to a group; the group is made if need be, and the first one takes over what waits.
--
-- KEYS[1]  the topic's groups
-- ARGV     1..5 as in common.lua
--   6      group
--   7      session, as this engine names it
--   8      session id, as others see it
--   9      consumer
--   10     the session's round, see lease.lua
-- returns  {now, whether it is the topic's first group (0, 1)}

regardless_of_memory()
local group, session = ARGV[6], ARGV[7]
check_keys(group)
local groups_key = topic_key('groups')
local first = redis.call('SCARD', groups_key) == 0
redis.call('HSET', group_key(group, 'sessions'), session, cmsgpack.pack({ ARGV[8], ARGV[9], now, tonumber(ARGV[10]) }))
redis.call('SADD', groups_key, group)
if first and redis.call('EXISTS', group_key('', 'waiting')) == 1 then
  redis.call('RENAME', group_key('', 'waiting'), group_key(group, 'waiting'))
end
return { whole(now), first and 1 or 0 }
