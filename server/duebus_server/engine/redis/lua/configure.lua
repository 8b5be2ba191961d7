-- Changes settings of a topic, or the retry policy of one of its groups.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group; '' for the topic
--   7, 8   the server's first and greatest backoff, if neither the group nor the topic has its own
--   9...   setting, value, ...
-- returns  {now, '' or what is missing, refused (0; 1: the backoffs would contradict each other, and nothing was
--          changed), settings of the topic, settings of the group}, settings: {name, value, ...} of those that differ
--          from the server's
-- runs on closed partitions too
-- includes records
-- includes ordering
-- includes leases
-- includes naming

local group = ARGV[6]
local config_key, policy_key = topic_key('config'), nil
-- A topic's settings can't change while its partitions do, because they are being copied.
local open = tonumber(redis.call('HGET', config_key, 'partitions') or 1)
if not open or PARTS > 1 and open ~= PARTS then
  return 'moved'
end
regardless_of_memory()
if group ~= '' then
  local found, missing = find_group(group)
  if not found then
    return { whole(now), missing }
  end
  policy_key = group_key(group, 'group')
end

local changes, touches_policy = {}, false
for i = 9, #ARGV, 2 do
  changes[ARGV[i]] = ARGV[i + 1]
  touches_policy = touches_policy or ARGV[i] == 'max_retries' or string.find(ARGV[i], 'backoff_', 1, true) == 1
end

local function after(name, default)
  return tonumber(changes[name]) or policy_key and group_setting(group, name, default) or setting(name, default)
end

local refused = 0
if touches_policy and after('backoff_max', ARGV[8]) < after('backoff_initial', ARGV[7]) then
  refused = 1
elseif next(changes) then
  redis.call('HSET', policy_key or config_key, unpack(ARGV, 9))
  publish_change('configured', '')
end
return { whole(now), '', refused, redis.call('HGETALL', config_key), policy_key and own_policy(group) or {} }
