-- Fires schedules: each that is due and has the version that the caller knows dispatches its event, as in dispatch.lua,
-- and moves on to its next time; or only moves on, because of the overlap or because there is no event.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6, 7   as in dispatch.lua
--   8      how many; then for each:
--            name, version, nominal time, whether it does not fire again if the event is dispatched (0, 1), how many
--            earlier events may be unfinished (0 for any number), how many nominal times are given up; when it fires
--            next and when that is due, or -1; packed id of the event, '' for none; how many arguments follow: a request
--            as in dispatch.lua, with that event
-- returns  {now, {outcome, ...}, when the topic's first schedule is due or -1, what dispatch.lua returns or {}}
--          outcomes: 0 fired, 1 skipped, 2 moved on without an event, 3 of another version or gone, 4 not due yet, 5 the
--          topic has no room
-- includes schedules
-- runs dispatch

local DISPATCHED, SKIPPED_IT, MISSED_IT, CHANGED, EARLY, NO_ROOM = 0, 1, 2, 3, 4, 5
local NOT_STORED = { [2] = true, [5] = true } -- the statuses of dispatch.lua for which there was no room

local next_argument = 9

local function take_next()
  local value = ARGV[next_argument]
  next_argument = next_argument + 1
  return value
end

local function read_firing()
  local firing = { name = take_next(), version = tonumber(take_next()), nominal = tonumber(take_next()) }
  firing.ends, firing.most_unfinished, firing.missed = take_next() == '1', tonumber(take_next()), tonumber(take_next())
  firing.next, firing.due, firing.id, firing.request = tonumber(take_next()), tonumber(take_next()), take_next(), {}
  for i = 1, tonumber(take_next()) do
    firing.request[i] = take_next()
  end
  return firing
end

-- Whether the topic holds the event, and it is not dead in some lasting group, or waits for the first one.
local function is_unfinished(id)
  if id == '' or redis.call('HEXISTS', topic_key('events'), id) == 0 then
    return false
  end
  local refs = unpack_fields(redis.call('HGET', topic_key('refs'), id), 2)
  if refs then
    return refs[2] > 0
  end
  for _, group in ipairs(ALL_GROUPS) do
    local record = unpack_fields(redis.call('HGET', group_key(group, 'records'), id), IS_DEAD)
    if record then
      return record[IS_DEAD] ~= 1
    end
  end
  return true
end

local function is_held_back(schedule, most)
  if most == 0 or not is_unfinished(schedule[LAST_ID]) then
    return false
  end
  return most == 1 or is_unfinished(schedule[ID_BEFORE])
end

-- The outcome of a firing, or nil if its event is to be dispatched.
local function judge(firing, schedule)
  if not schedule or schedule[VERSION] ~= firing.version then
    return CHANGED
  end
  if schedule[DUE] < 0 or schedule[DUE] > now then
    return EARLY
  end
  if firing.id == '' then
    return MISSED_IT
  end
  return is_held_back(schedule, firing.most_unfinished) and SKIPPED_IT or nil
end

-- Dispatches the events of firings, each as a request of its own. Returns the answer of dispatch.lua.
local function dispatch_all(firings)
  local arguments = { ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], '0', #firings }
  for _, firing in ipairs(firings) do
    for _, value in ipairs(firing.request) do
      arguments[#arguments + 1] = value
    end
  end
  return dispatch(arguments)
end

local function move_on(firing, schedule, outcome)
  schedule[VERSION] = math.max(schedule[VERSION] + 1, now)
  schedule[NEXT], schedule[DUE] = firing.next, firing.due
  schedule[MISSED] = schedule[MISSED] + firing.missed
  if outcome == SKIPPED_IT then
    schedule[SKIPPED] = schedule[SKIPPED] + 1
  elseif outcome == DISPATCHED then
    schedule[RUNS], schedule[LAST_FIRED] = schedule[RUNS] + 1, firing.nominal
    schedule[ID_BEFORE], schedule[LAST_ID] = schedule[LAST_ID], firing.id
    if firing.ends then
      schedule[NEXT], schedule[DUE] = -1, -1
    end
  end
end

local before = due_after(0)
local firings, schedules, outcomes, to_dispatch, places = {}, {}, {}, {}, {}
for i = 1, tonumber(ARGV[8]) do
  local firing = read_firing()
  local schedule = read_schedule(firing.name)
  firings[i], schedules[i], outcomes[i] = firing, schedule, judge(firing, schedule) or DISPATCHED
  if outcomes[i] == DISPATCHED then
    to_dispatch[#to_dispatch + 1], places[#places + 1] = firing, i
  end
end
local dispatched = #to_dispatch > 0 and dispatch_all(to_dispatch) or {}
for i, place in ipairs(places) do
  if NOT_STORED[dispatched[3][i][1]] then
    outcomes[place] = NO_ROOM
  end
end
local changed = {}
for i, firing in ipairs(firings) do
  if outcomes[i] <= MISSED_IT then
    move_on(firing, schedules[i], outcomes[i])
    changed[#changed + 1], changed[#changed + 2] = firing.name, schedules[i]
  end
end
write_schedules(changed)
return { whole(now), outcomes, announce_first(before), dispatched }
