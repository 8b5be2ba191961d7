-- Notes where schedules are, even when memory is full, so that each name is in one place.
--
-- KEYS[1]  the hash of schedules
-- ARGV     1..5 as in common.lua
--   6      how many names there may be; one that is new beyond that is refused
--   7...   name, the partition where it is, as text; ...
-- returns  for each name the partition that it is noted for, which may be another; '' if it was refused
-- runs on closed partitions too

local places, count = {}, redis.call('HLEN', KEYS[1])
regardless_of_memory()
for i = 7, #ARGV, 2 do
  local name, place = ARGV[i], ARGV[i + 1]
  local noted = redis.call('HGET', KEYS[1], name)
  if not noted and count < tonumber(ARGV[6]) then
    redis.call('HSET', KEYS[1], name, place)
    noted, count = place, count + 1
  end
  places[#places + 1] = noted or ''
end
return places
