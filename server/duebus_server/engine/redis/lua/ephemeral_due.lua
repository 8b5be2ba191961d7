-- Returns the ephemeral groups to check now.
--
-- KEYS[1]  the notes
-- ARGV     1..5 as in common.lua
--   6      how many, at most
--   7      how long notes that are due sooner are postponed first, microseconds
-- returns  {{partition and group, time of the note, ...}, {partition and group, time of the note} of the one due next}
-- runs on closed partitions too

local earliest = now + tonumber(ARGV[7])
if earliest > now then
  regardless_of_memory()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. whole(earliest))) do
    redis.call('ZADD', KEYS[1], whole(earliest), member)
  end
end
return {
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'WITHSCORES', 'LIMIT', 0, ARGV[6]),
  redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. whole(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1),
}
