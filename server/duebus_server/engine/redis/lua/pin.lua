-- Pins ids that are at home here to a partition that is about to store their events, unless another one may have them.
--
-- KEYS[1]  the partition's events
-- ARGV     1..5 as in common.lua
--   6      the number of the partition they are pinned to
--   7...   packed ids
-- returns  {now, {result, ...}}, a result an id: '' pinned as asked; 'here' when this partition knows the event; or the pin
--          to another one
-- includes pins

local results, pins = {}, {}
for i = 7, #ARGV do
  local id = ARGV[i]
  local pin = pin_of(id)
  if is_known(id) then
    results[i - 6] = 'here'
  elseif pin and pinned_to(pin) ~= tonumber(ARGV[6]) then
    results[i - 6] = pin
  else
    results[i - 6] = ''
    pins[#pins + 1] = new_pin(ARGV[6])
    pins[#pins + 1] = id
  end
end
write_all('ZADD', PINS_KEY, pins)
return { whole(now), results }
