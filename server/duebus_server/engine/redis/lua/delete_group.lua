-- Deletes a group: from now on nothing can be leased from it or settled in it. Its copies of events are put aside for
-- dispose.lua. A sweep deletes it only if it is ephemeral and its time has come: it has no session, those that have
-- left have been away for long enough, and no lease is left.
--
-- KEYS     topic, group, and where its events are put aside
-- ARGV     1..5 as in common.lua
--   6      group
--   7      a unique name for this deletion
--   8      whether a sweep does it (0, 1)
-- returns  {now, '' or what is missing, how many copies it had}; or for a sweep {now, 'kept', when to check again, or
--          -1 if it has a session or is lasting}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming
-- includes deleting

-- Removes what was counted of a group by the minute; by a replica whose clock is ahead, in the next one. It is only a
-- statistic, so an error in it hinders nothing else.
local MINUTE_US, KEPT_MINUTES = 60000000, 60

local function forget_minutes(of_group)
  local fields, current = {}, math.floor(now / MINUTE_US)
  for minute = current - KEPT_MINUTES + 1, current + 1 do
    fields[#fields + 1] = whole(minute) .. ':' .. of_group
  end
  redis.pcall('HDEL', topic_key('minutes'), unpack(fields))
end

regardless_of_memory()
local group, missing = find_group(ARGV[6])
if not group then
  return { whole(now), missing }
end
check_keys(group)
check_prioritized(group)
ordering().check_key_sets(group)
redis.call('SCARD', topic_key('deleted'))

if ARGV[8] == '1' then
  if not is_ephemeral(group) or redis.call('HLEN', group_key(group, 'sessions')) > 0 then
    return { whole(now), 'kept', -1 }
  end
  local kept_until = tonumber(redis.call('HGET', group_key(group, 'group'), 'kept_until') or 0)
  if kept_until > now or redis.call('ZCOUNT', group_key(group, 'leased'), '(' .. whole(now), '+inf') > 0 then
    return { whole(now), 'kept', whole(math.max(now, kept_until)) } -- a lease may end before it runs out
  end
end

-- Noted first, so that dispose.lua finds what is put aside.
local copies = 0
redis.call('SADD', topic_key('deleted'), ARGV[7] .. (is_ephemeral(group) and WAS_EPHEMERAL or ''))
for _, name in ipairs(SETS) do
  local count = redis.call('ZCARD', group_key(group, name))
  if count > 0 then
    redis.call('RENAME', group_key(group, name), aside_key(ARGV[7], name))
    copies = copies + count
  end
end

redis.call('HDEL', topic_key('groups'), group)
redis.call('UNLINK', unpack(keys_of(group)))
forget_minutes(group)
publish_change('deleted', group)
return { whole(now), '', copies }
