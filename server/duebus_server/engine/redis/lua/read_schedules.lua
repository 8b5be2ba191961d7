-- Reads schedules.
--
-- KEYS     topic
-- ARGV     1..5 as in common.lua
--   6      how many bytes of schedules at most, but for the last
--   7...   their names
-- returns  for each of the first names, as many as fit, its fields as in schedules.lua; an empty array if it is damaged;
--          false if there is none
-- includes schedules

local answers, size = {}, 0
for i = 7, #ARGV do
  if size >= tonumber(ARGV[6]) then
    break
  end
  local raw = redis.call('HGET', schedules_key, ARGV[i])
  answers[#answers + 1] = raw and (parse_schedule(raw) or {})
  size = size + #(raw or '')
end
return answers
