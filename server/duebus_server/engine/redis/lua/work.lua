-- Counts the events of many groups that need a worker.
--
-- KEYS     on a cluster, the keys of one topic and of its groups that are named
-- ARGV     1..5 as in common.lua
--   6...   prefix of a topic, group ('' for what waits for the first one); ...
-- returns  for each group how many are leased, or ready while the group is not paused and soon within its limits, and
--          how many keys open soon; -1 where the partition is closed, 0 for a group with a key of the wrong type, which
--          must not hide the others
-- includes policies

local AHEAD_US = 30000000 -- as WORK_AHEAD_US in engine/base.py

-- Whether a step moves events that have become due.
local function moves_something(prefix, group)
  return redis.call('ZCOUNT', group_key_of(prefix, group, 'upcoming'), '-inf', whole(now)) > 0
end

-- How many keys with blocked events open soon: each lets one begin.
local function keys_that_open(prefix, group)
  return redis.call('ZCOUNT', group_key_of(prefix, group, 'opens'), '-inf', whole(now + AHEAD_US))
end

-- How many events the limits of a group let begin soon.
local function begin_soon(prefix, group, leased)
  local limits = policies().read_limits(group, prefix)
  if limits.paused_until > now + AHEAD_US then
    return 0
  end
  local room = limits.most > 0 and math.max(0, limits.most - leased) or NEVER
  if limits.rate then
    room = math.min(room, policies().rate_allows_until(limits.rate, limits.tat, limits.paused_until, now + AHEAD_US))
  end
  return room
end

local function count(prefix, group)
  local number = redis.call('ZCARD', group_key_of(prefix, group, 'leased'))
  local ready = keys_that_open(prefix, group)
  for _, name in ipairs({ 'waiting', 'suspects', 'prioritized' }) do
    ready = ready + redis.call('ZCOUNT', group_key_of(prefix, group, name), '-inf', whole(now))
  end
  if moves_something(prefix, group) then
    ready = ready + 1 -- a worker is needed to find out how many of them are READY, and how many BLOCKED
  end
  if ready > 0 and redis.call('HEXISTS', group_key_of(prefix, group, 'group'), 'paused') == 0 then
    number = number + math.min(ready, begin_soon(prefix, group, number))
  end
  if number == 0 and tonumber(redis.call('HGET', prefix .. 'config', 'partitions') or 1) ~= partitions_in(prefix) then
    return -1
  end
  return number
end

local counts = {}
for i = 6, #ARGV, 2 do
  local fine, number = pcall(count, ARGV[i], ARGV[i + 1])
  counts[#counts + 1] = fine and number or 0
end
return counts
