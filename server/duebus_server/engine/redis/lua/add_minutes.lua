-- Adds what a replica has counted to the minutes of a topic; those that are over for an hour are removed.
--
-- KEYS[1]  the hash `minutes` of the topic
-- ARGV     1..5 as in common.lua
--   6      the first minute that is kept
--   7      for how many seconds the hash is kept
--   8...   field, counts separated by spaces, ...
-- returns  nothing
-- runs on closed partitions too

local is_new = false
for i = 8, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  local sums = {}
  for _, counts in ipairs({ ARGV[i + 1], known or '' }) do
    local at = 0
    for count in string.gmatch(counts, '%d+') do
      at = at + 1
      sums[at] = (sums[at] or 0) + tonumber(count)
    end
  end
  for at = 1, #sums do
    sums[at] = whole(sums[at])
  end
  redis.call('HSET', KEYS[1], ARGV[i], table.concat(sums, ' '))
  is_new = is_new or not known
end
if is_new then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if (tonumber(string.match(field, '^%d+')) or 0) < tonumber(ARGV[6]) then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[7])
