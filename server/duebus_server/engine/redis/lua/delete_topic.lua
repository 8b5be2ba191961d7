-- Removes a topic with all its keys. Redis frees their memory in a separate thread.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
-- returns  {now, '' or what is missing, how many events it held}; or {now, 'busy'} while copies of deleted groups
--          are put aside: dispose.lua has to release them first; or {now, 'scheduled', a name} while it has schedules
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming
-- includes deleting

if redis.call('HLEN', topic_key('schedules')) > 0 then
  return { whole(now), 'scheduled', redis.call('ZRANGE', topic_key('schedules:due'), 0, 0)[1] or '' }
end
redis.call('ZCARD', topic_key('schedules:due'))
local groups, missing = find_groups(ALL_GROUPS, true, '')
if not groups then
  return { whole(now), missing }
end
for _, group in ipairs(groups) do
  check_keys(group)
  check_prioritized(group)
  ordering().check_key_sets(group)
end
for _, name in ipairs({ 'config', 'requests', 'requests:earlier' }) do
  redis.call('HLEN', topic_key(name))
end
redis.call('ZCARD', topic_key('recent'))
if redis.call('SCARD', topic_key('deleted')) > 0 then
  return { whole(now), 'busy' }
end
local removed = redis.call('HLEN', topic_key('events'))

local function unlink(keys)
  redis.call('UNLINK', unpack(keys))
end

for _, group in ipairs(groups) do
  unlink(keys_of(group))
end
unlink(keys_of('')) -- the rates of a time when the topic had no group
for _, name in ipairs(topic_key_names()) do
  unlink({ topic_key(name) })
end
publish_change('deleted', '')
return { whole(now), '', removed }
