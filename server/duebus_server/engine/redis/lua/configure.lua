-- Changes settings of a topic, or of one of its groups. What was blocked under another key policy is admitted again, as
-- what comes due.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6      group; '' for the topic
--   7, 8   the server's first and greatest backoff, if neither the group nor the topic has its own
--   9...   setting, value, ...; '' for the value removes it
-- returns  {now, '' or what is missing, refused (0; 1: the backoffs would contradict each other, and nothing was
--          changed), settings of the topic, settings of the group, {group, next due, whether every delivery counts for a
--          limit (0, 1), ...} of the groups that have other limits or another key policy}, settings: {name, value, ...} of those that differ from the server's
-- runs on closed partitions too
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
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
read_gate(redis.call('HGET', config_key, 'gate'))
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

-- The groups that the limits or the key policy apply to, and the key policy of each as it was.
local affected, keys_before = {}, {}
if changes.limits or changes.keys then
  affected = group ~= '' and { group } or { '', unpack(ALL_GROUPS) }
end
for _, name in ipairs(affected) do
  check_keys(name)
  ordering().check_key_sets(name)
  keys_before[name] = policies().text_of(name, 'keys', ARGV[1])
end

local function after(name, default)
  return tonumber(changes[name]) or policy_key and group_setting(group, name, default) or setting(name, default)
end

-- BLOCKED -> SCHEDULED, but due: all of a group, so that they are admitted again under the policy that is in force now.
local function admit_again(name)
  local blocked, upcoming = group_key(name, 'blocked'), group_key(name, 'upcoming')
  if redis.call('EXISTS', upcoming) == 0 and redis.call('EXISTS', blocked) == 1 then
    redis.call('RENAME', blocked, upcoming)
  else
    redis.call('ZUNIONSTORE', upcoming, 2, upcoming, blocked)
    redis.call('UNLINK', blocked)
  end
end

-- Makes the groups follow a change of limits or of the key policy. Returns {group, next due, whether it is limited, ...}.
local function apply_to_groups()
  open_gate((changes.keys and POLICIES or 0) + (changes.limits and LIMITS or 0))
  local dues = {}
  for _, name in ipairs(affected) do
    if policies().text_of(name, 'keys', ARGV[1]) ~= keys_before[name] then
      admit_again(name)
    end
    if redis.call('HEXISTS', group_key(name, 'group'), 'wake_at') == 1 then
      redis.call('HSET', group_key(name, 'group'), 'wake_at', whole(NEVER))
    end
    wake(name, next_due(name))
    if name ~= '' then
      local is_limited = policies().is_limited(name)
      dues[#dues + 1], dues[#dues + 2], dues[#dues + 3] = name, answer_time(next_due(name)), is_limited and 1 or 0
      if is_limited then
        publish_change('limited', name)
      end
    end
  end
  return dues
end

local refused = 0
if touches_policy and after('backoff_max', ARGV[8]) < after('backoff_initial', ARGV[7]) then
  refused = 1
elseif next(changes) then
  for name, value in pairs(changes) do
    if value == '' then
      redis.call('HDEL', policy_key or config_key, name)
    else
      redis.call('HSET', policy_key or config_key, name, value)
    end
  end
  publish_change('configured', '')
end
local dues = refused == 0 and (changes.limits or changes.keys) and apply_to_groups() or {}
return { whole(now), '', refused, redis.call('HGETALL', config_key), policy_key and own_settings(ARGV[1], group) or {}, dues }
