-- Stores a schedule, in place of the version of it that the caller knows.
--
-- KEYS     topic
-- ARGV     1..5 as in common.lua
--   6      its name
--   7      the version that it replaces; 0 for none, or one that is damaged
--   8...   its fields after VERSION, as in schedules.lua
-- returns  {now, whether it was stored (0, 1), when the topic's first schedule is due or -1}
-- includes schedules

local name, replaces, before = ARGV[6], tonumber(ARGV[7]), due_after(0)
local stored = read_schedule(name)
if (stored and stored[VERSION] or 0) ~= replaces then
  return { whole(now), 0, answer_time(before) }
end
if stored then
  regardless_of_memory() -- whoever pauses one makes room
end
local schedule = { math.max(replaces + 1, now) }
for field = NEXT, FIELD_COUNT do
  local value = ARGV[6 + field]
  schedule[field] = field <= LAST_FIRED and tonumber(value) or value
end
write_schedules({ name, schedule })
return { whole(now), 1, announce_first(before) }
