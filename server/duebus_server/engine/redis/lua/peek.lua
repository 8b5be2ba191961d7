-- Which of many groups have something to lease now, and how much is ready in each; all in one command.
--
-- KEYS[1]  the events of the first topic; on a cluster, all groups are of that topic
-- ARGV     1..5 as in common.lua
--   6...   prefix of a topic, group, ...
-- returns  for each group: a lease can be had (0, 1), how many events are ready, ...

local found = {}
for i = 6, #ARGV, 2 do
  local prefix, group = ARGV[i], ARGV[i + 1]
  local ready = redis.call('ZCOUNT', group_key_of(prefix, group, 'waiting'), '-inf', whole(now))
  local expired = redis.call('ZCOUNT', group_key_of(prefix, group, 'leased'), '-inf', whole(now))
  local paused = redis.call('HEXISTS', group_key_of(prefix, group, 'group'), 'paused')
  found[#found + 1] = (ready + expired > 0 and paused == 0) and 1 or 0
  found[#found + 1] = ready
end
return found
