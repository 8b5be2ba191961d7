-- Subscribes a session to a group. The group is created if that is allowed, and the topic's first lasting group takes
-- over the events that wait for it.
--
-- KEYS     topic, group, unclaimed
-- ARGV     1..5 as in common.lua
--   6      group
--   7      session, as this engine names it
--   8      session id, as others see it
--   9      consumer
--   10     the session's round, see lease.lua
--   11     '' for a lasting group; for an ephemeral one, how long it is kept after the session has gone, microseconds
--   12     whether the group must exist already (0, 1)
-- returns  {now, whether it is the topic's first group (0, 1)}; {now, 'kind', whether the group is ephemeral (0, 1)} if
--          the session wants the other kind; or {now, 'none'} if it does not exist and may not be created

local group, session = ARGV[6], ARGV[7]
local kind = ARGV[11] == '' and LASTING or EPHEMERAL
check_keys(group)
local groups_key = topic_key('groups')
local found = redis.call('HGET', groups_key, group)
if not found and ARGV[12] == '1' then
  return { whole(now), 'none' }
end
if found and found ~= kind then
  return { whole(now), 'kind', found == EPHEMERAL and 1 or 0 }
end
regardless_of_memory()
local first = redis.call('HLEN', groups_key) == 0
local info = { ARGV[8], ARGV[9], now, tonumber(ARGV[10]), tonumber(ARGV[11]) }
redis.call('HSET', group_key(group, 'sessions'), session, cmsgpack.pack(info))
redis.call('HSET', groups_key, group, kind)
-- Not only for the first session: if Redis refused this then, a later session of a group without events does it.
local unclaimed, own = group_key('', 'waiting'), group_key(group, 'waiting')
local is_claimed = kind == LASTING and redis.call('EXISTS', unclaimed) == 1
if is_claimed and redis.call('RENAMENX', unclaimed, own) == 0 and first then
  -- The group is not new: the topic's groups were lost, and this was dispatched before one was created again.
  redis.call('ZUNIONSTORE', own, 2, own, unclaimed)
  redis.call('UNLINK', unclaimed)
end
return { whole(now), first and 1 or 0 }
