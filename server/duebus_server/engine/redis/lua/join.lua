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
-- returns  {now, whether it is the topic's first group (0, 1), whether every delivery counts for a limit (0, 1)};
--          {now, 'kind', whether the group is ephemeral (0, 1)} if the session wants the other kind; or {now, 'none'} if it does not exist and may not be created
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission

local group, session = ARGV[6], ARGV[7]
local first = redis.call('HLEN', topic_key('groups')) == 0

-- Takes over a sorted set of what waits for the topic's first lasting group.
local function claim(name)
  local unclaimed, own = group_key('', name), group_key(group, name)
  if redis.call('EXISTS', unclaimed) == 1 and redis.call('RENAMENX', unclaimed, own) == 0 and first then
    -- The group is not new: the topic's groups were lost, and this was dispatched before one was created again.
    redis.call('ZUNIONSTORE', own, 2, own, unclaimed)
    redis.call('UNLINK', unclaimed)
  end
end

-- Takes over the heads of keys. If the group is not new and has heads of the same keys, these stay.
local function claim_heads()
  for _, mark in ipairs({ 'keyed', 'slotted' }) do
    if redis.call('HDEL', group_key('', 'group'), mark) == 1 then
      redis.call('HSET', group_key(group, 'group'), mark, '1')
    end
  end
  local unclaimed, own = group_key('', 'keys'), group_key(group, 'keys')
  if redis.call('EXISTS', unclaimed) == 0 or redis.call('RENAMENX', unclaimed, own) == 1 or not first then
    return
  end
  local heads = redis.call('HGETALL', unclaimed)
  for i = 1, #heads, 2 do
    local set = waiting_set_of(heads[i + 1])
    local score = redis.call('HSETNX', own, heads[i], heads[i + 1]) == 0
      and redis.call('ZSCORE', group_key(group, set), heads[i + 1])
    if score then
      ordering().add_upcoming(group, { score, heads[i + 1] })
      remove_waiting(group, set, { heads[i + 1] })
    end
  end
  redis.call('UNLINK', unclaimed)
end

local kind = ARGV[11] == '' and LASTING or EPHEMERAL
check_keys(group)
ordering().check_key_sets(group)
local groups_key = topic_key('groups')
local found = redis.call('HGET', groups_key, group)
if not found and ARGV[12] == '1' then
  return { whole(now), 'none' }
end
if found and found ~= kind then
  return { whole(now), 'kind', found == EPHEMERAL and 1 or 0 }
end
regardless_of_memory()
local info = { ARGV[8], ARGV[9], now, tonumber(ARGV[10]), tonumber(ARGV[11]) }
redis.call('HSET', group_key(group, 'sessions'), session, cmsgpack.pack(info))
redis.call('HSET', groups_key, group, kind)
-- Not only for the first session: if Redis refused this then, a later session of a group without events does it.
if kind == LASTING then
  for _, name in ipairs({ 'waiting', 'ranked', 'prioritized', 'by_key', 'upcoming', 'blocked', 'slots', 'opens' }) do
    claim(name)
  end
  claim_heads()
end
local is_limited = (HAS_LIMITS or HAS_POLICIES) and policies().is_limited(group)
return { whole(now), first and 1 or 0, is_limited and 1 or 0 }
