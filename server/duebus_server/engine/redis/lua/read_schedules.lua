-- Reads schedules.
--
-- KEYS     topic
-- ARGV     1..5 as in common.lua
--   6...   their names
-- returns  for each its fields as in schedules.lua; an empty array if it is damaged; false if there is none
-- includes schedules

local answers = {}
for i, raw in ipairs(read_all('HMGET', schedules_key, { unpack(ARGV, 6) })) do
  answers[i] = raw and (parse_schedule(raw) or {})
end
return answers
