-- Counts the events of many groups that need a worker.
--
-- KEYS     on a cluster, the keys of one topic and of its groups that are named
-- ARGV     1..5 as in common.lua
--   6...   prefix of a topic, group ('' for what waits for the first one); ...
-- returns  for each group how many are leased, or ready while the group is not paused; -1 where the partition is
--          closed, 0 for a group with a key of the wrong type, which must not hide the others

local function count(prefix, group)
  local number = redis.call('ZCARD', group_key_of(prefix, group, 'leased'))
  local ready = 0
  for _, name in ipairs({ 'waiting', 'suspects', 'prioritized' }) do
    ready = ready + redis.call('ZCOUNT', group_key_of(prefix, group, name), '-inf', whole(now))
  end
  if redis.call('ZCOUNT', group_key_of(prefix, group, 'upcoming'), '-inf', whole(now)) > 0 then
    ready = ready + 1 -- a worker is needed to find out how many of them are READY, and how many BLOCKED
  end
  if ready > 0 and redis.call('HEXISTS', group_key_of(prefix, group, 'group'), 'paused') == 0 then
    number = number + ready
  end
  local parts = tonumber(string.match(prefix, '/(%d+)}:$') or 1)
  if number == 0 and tonumber(redis.call('HGET', prefix .. 'config', 'partitions') or 1) ~= parts then
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
