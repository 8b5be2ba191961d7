-- Which events a partition holds, or remembers for the dedupe window.
--
-- KEYS[1]  the partition's events
-- ARGV     1..5 as in common.lua
--   6...   packed ids
-- returns  {now, {result, ...}}, a result an id: 0 neither, 1 it holds it, 2 it remembers it
-- includes pins

local results = {}
for i = 6, #ARGV do
  local is_held = redis.call('HEXISTS', topic_key('events'), ARGV[i]) == 1
  results[i - 5] = is_held and 1 or is_known(ARGV[i]) and 2 or 0
end
return { whole(now), results }
