-- A topic is gone, with all its keys. Redis gives back their memory on a thread of its own.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
-- returns  {now, '' or what there is none of, how many events it held}
-- includes leases
-- includes naming
-- includes deleting

local groups, missing = find_groups(true, '')
if not groups then
  return { whole(now), missing }
end
for _, group in ipairs(groups) do
  check_keys(group)
end
for _, name in ipairs({ 'config', 'requests', 'requests:earlier' }) do
  redis.call('HLEN', topic_key(name))
end
redis.call('ZCARD', topic_key('recent'))
local deletions = redis.call('SMEMBERS', topic_key('deleted'))
local removed = redis.call('HLEN', topic_key('events'))

local function unlink(keys)
  redis.call('UNLINK', unpack(keys))
end

for _, group in ipairs(groups) do
  unlink(keys_of(group))
end
unlink(keys_of('')) -- the figures of a time when the topic had no group
for _, number in ipairs(deletions) do
  for _, name in ipairs(SETS) do
    unlink({ aside_key(number, name) })
  end
end
local own = { 'events', 'refs', 'groups', 'meta', 'config', 'recent', 'requests', 'requests:earlier', 'deleted' }
for _, name in ipairs(own) do
  unlink({ topic_key(name) })
end
tell_change('deleted', '')
return { whole(now), '', removed }
