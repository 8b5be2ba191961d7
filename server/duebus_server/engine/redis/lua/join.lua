-- Subscribes a session to a group. The group is made if need be, and the topic's first group takes over what waits.
--
-- KEYS     topic, group, unclaimed
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
-- Not only by the first: should Redis have refused this then, a later session of a group that has nothing makes up for it.
if redis.call('EXISTS', group_key('', 'waiting')) == 1 then
  redis.call('RENAMENX', group_key('', 'waiting'), group_key(group, 'waiting'))
end
return { whole(now), first and 1 or 0 }
