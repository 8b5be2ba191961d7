-- Finds the schedules that are due. If the index has lost some, it is restored first.
--
-- KEYS     topic
-- ARGV     1..5 as in common.lua
--   6      how many at most
-- returns  {now, {name, {field, ...}, ...}, when the first of the others is due or -1, {name of a damaged one, ...}}
--          Fields are as in schedules.lua. Damaged ones are never due again.
-- includes schedules

-- A damaged one is due now, so that it is reported.
local function restore_index()
  local stored, scored = redis.call('HGETALL', schedules_key), {}
  for i = 1, #stored, 2 do
    local schedule = parse_schedule(stored[i + 1])
    scored[i], scored[i + 1] = schedule and due_score(schedule) or whole(now), stored[i]
  end
  redis.call('DEL', due_key)
  write_all('ZADD', due_key, scored)
end

if redis.call('HLEN', schedules_key) ~= redis.call('ZCARD', due_key) then
  restore_index()
end
local names = redis.call('ZRANGEBYSCORE', due_key, '-inf', whole(now), 'LIMIT', 0, ARGV[6])
local found, damaged = {}, {}
for i, raw in ipairs(read_all('HMGET', schedules_key, names)) do
  local schedule = parse_schedule(raw)
  if schedule then
    found[#found + 1], found[#found + 2] = names[i], schedule
  else
    damaged[#damaged + 1] = names[i]
  end
end
local next_due = due_after(#names)
for _, name in ipairs(damaged) do
  redis.call('ZADD', due_key, '+inf', name)
end
return { whole(now), found, answer_time(next_due), damaged }
