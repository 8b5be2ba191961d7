-- Finds the schedules that are due. If the index has lost some, it is restored first.
--
-- KEYS     topic
-- ARGV     1..5 as in common.lua
--   6, 7   how many at most, and how many bytes of them at most, but for the last
-- returns  {now, {name, {field, ...}, ...}, when the first of the others is due or -1, {name of a damaged one, ...}}
--          Fields are as in schedules.lua. Damaged ones are never due again.
-- includes schedules

-- All are due now: when they are read, those that are not get their time.
local function restore_index()
  local scored = {}
  for _, name in ipairs(redis.call('HKEYS', schedules_key)) do
    scored[#scored + 1], scored[#scored + 2] = whole(now), name
  end
  redis.call('DEL', due_key)
  write_all('ZADD', due_key, scored)
end

if redis.call('HLEN', schedules_key) ~= redis.call('ZCARD', due_key) then
  restore_index()
end
local found, damaged, corrected, size = {}, {}, {}, 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', due_key, '-inf', whole(now), 'LIMIT', 0, ARGV[6])) do
  if size >= tonumber(ARGV[7]) then
    break
  end
  local raw = redis.call('HGET', schedules_key, name)
  local schedule = parse_schedule(raw)
  size = size + #(raw or '')
  if schedule and schedule[DUE] >= 0 and schedule[DUE] <= now then
    found[#found + 1], found[#found + 2] = name, schedule
  else
    corrected[#corrected + 1], corrected[#corrected + 2] = schedule and due_score(schedule) or '+inf', name
    damaged[#damaged + 1] = not schedule and name or nil
  end
end
if #corrected > 0 then
  regardless_of_memory()
  write_all('ZADD', due_key, corrected)
end
return { whole(now), found, answer_time(due_after(#found / 2)), damaged }
