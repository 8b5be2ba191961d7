-- Changes pins that have not been used or changed since they were looked at.
--
-- KEYS[1]  the partition's events
-- ARGV     1..5 as in common.lua
--   6...   packed id, the pin as it was, the number of the partition it is pinned to from now on ('' for none); ...
-- returns  {whether it was as expected (0, 1), ...}
-- includes pins

regardless_of_memory()
local results = {}
for i = 6, #ARGV, 3 do
  local id, part = ARGV[i], ARGV[i + 2]
  local is_same = pin_of(id) == ARGV[i + 1]
  if is_same and part == '' then
    redis.call('ZREM', PINS_KEY, id)
  elseif is_same then
    redis.call('ZADD', PINS_KEY, new_pin(part), id)
  end
  results[#results + 1] = is_same and 1 or 0
end
return results
