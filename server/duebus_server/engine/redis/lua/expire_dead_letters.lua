-- DEAD -> removed, for dead letters that have outlived their retention: up to a limit for each group of a topic.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6, 7   the server's retention and dedupe window, microseconds, if the topic has none of its own
-- returns  when there may be more to remove, in microseconds; -1 for never
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming
-- includes ranks
-- includes dead_letters

local LIMIT = 1000

regardless_of_memory()
local retention, window = setting('dead_letter_retention', ARGV[6]), setting('dedupe_window', ARGV[7])
if retention == 0 then
  return -1
end
local groups = ALL_GROUPS
for _, group in ipairs(groups) do
  check_keys(group)
end
local oldest = now -- what dies from now on is kept for the whole retention
for _, group in ipairs(groups) do
  local dead_key = group_key(group, 'dead')
  local members = redis.call('ZRANGEBYSCORE', dead_key, '-inf', whole(now - retention), 'LIMIT', 0, LIMIT)
  local ids, letters = {}, {}
  for i, member in ipairs(members) do
    ids[i] = id_of(member)
  end
  local raws = read_all('HMGET', group_key(group, 'records'), ids)
  for i, member in ipairs(members) do
    letters[i] = { ids[i], member, '', read_record(raws[i]) }
  end
  remove_dead(group, letters, window)
  local first = redis.call('ZRANGE', dead_key, 0, 0, 'WITHSCORES')
  oldest = math.min(oldest, tonumber(first[2] or NEVER))
end
return whole(oldest + retention)
