-- Shared by the scripts of schedules. Needs common.lua.

-- Fields of a schedule. Times and ids that it does not have are -1 and ''.
local VERSION, NEXT, DUE, PAUSED, RUNS, SKIPPED, MISSED, LAST_FIRED = 1, 2, 3, 4, 5, 6, 7, 8
local LAST_ID, ID_BEFORE, KEY, BODY = 9, 10, 11, 12
local FIELD_COUNT = 12

local schedules_key, due_key = topic_key('schedules'), topic_key('schedules:due')

-- A schedule, or nil for bytes that are not one.
local function parse_schedule(raw)
  local schedule = unpack_fields(raw, FIELD_COUNT)
  for field = VERSION, schedule and LAST_FIRED or 0 do
    if type(schedule[field]) ~= 'number' then
      return nil
    end
  end
  return schedule
end

-- Nil if there is none of this name, or it is damaged.
local function read_schedule(name)
  return parse_schedule(redis.call('HGET', schedules_key, name))
end

-- The score of a schedule in the index, where those that are not to be fired come last.
local function due_score(schedule)
  return schedule[DUE] >= 0 and whole(schedule[DUE]) or '+inf'
end

-- Stores schedules: {name, fields, ...}
local function write_schedules(changed)
  local packed, scored = {}, {}
  for i = 1, #changed, 2 do
    local name, schedule = changed[i], changed[i + 1]
    packed[i], packed[i + 1] = name, cmsgpack.pack(schedule)
    scored[i], scored[i + 1] = due_score(schedule), name
  end
  write_all('HSET', schedules_key, packed)
  write_all('ZADD', due_key, scored)
end

-- When the schedule is due that comes after `skipped` others, or NEVER.
local function due_after(skipped)
  local found = redis.call('ZRANGE', due_key, skipped, skipped, 'WITHSCORES')
  return found[2] and math.min(NEVER, tonumber(found[2])) or NEVER
end

-- Tells the other replicas, unless all of them check by themselves before then: they know the time `before`, when the
-- first one was due until now. Returns when the first one is due, as an answer.
local function announce_first(before)
  local first = due_after(0)
  if first < before then
    redis.call('PUBLISH', schedules_channel(), table.concat({ REPLICA, TOPIC, whole(first) }, '\0'))
  end
  return answer_time(first)
end
