-- What has to be the same in every partition: settings, groups, and how far fencing tokens have come.
--
-- KEYS[1]  the partition's events
-- ARGV     1..5 as in common.lua
-- returns  {settings: {name, value, ...}, the greatest fencing token, {group, {name, value, ...}, ...}}
-- runs on closed partitions too

local KEPT = { 'paused', 'max_retries', 'backoff_initial', 'backoff_max' }

local fence = tonumber(redis.call('HGET', topic_key('meta'), 'fence') or 0)
local described = {}
for _, group in ipairs(redis.call('SMEMBERS', topic_key('groups'))) do
  local own = redis.call('HMGET', group_key(group, 'group'), 'fence', unpack(KEPT))
  fence = math.max(fence, tonumber(own[1] or 0))
  local kept = {}
  for i, name in ipairs(KEPT) do
    if own[i + 1] then
      kept[#kept + 1] = name
      kept[#kept + 1] = own[i + 1]
    end
  end
  described[#described + 1] = group
  described[#described + 1] = kept
end
return { redis.call('HGETALL', topic_key('config')), whole(fence), described }
