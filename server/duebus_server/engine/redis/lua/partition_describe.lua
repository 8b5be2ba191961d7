-- Returns what must be the same in every partition: settings and groups.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
-- returns  {settings: {name, value, ...}, {group, kind, {name, value, ...}, ...}}
-- runs on closed partitions too

local KEPT = { 'paused', 'max_retries', 'backoff_initial', 'backoff_max', 'limits', 'keys', 'paused_until', 'fence' }

local described = {}
for _, group in ipairs(ALL_GROUPS) do
  local own = redis.call('HMGET', group_key(group, 'group'), unpack(KEPT))
  local kept = {}
  for i, name in ipairs(KEPT) do
    if own[i] then
      kept[#kept + 1] = name
      kept[#kept + 1] = own[i]
    end
  end
  described[#described + 1] = group
  described[#described + 1] = is_ephemeral(group) and EPHEMERAL or LASTING
  described[#described + 1] = kept
end
return { redis.call('HGETALL', topic_key('config')), described }
