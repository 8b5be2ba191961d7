-- Returns an event and its history in every group that still holds it.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6      packed id
--   7      the server's max_retries, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, blob, {group, ...}}, a group:
--          {name, its max_retries, state, score, attempt, free attempts, deliver at, last error, consumer, history,
--          packed id of the event that blocks it or ''}, history: {attempt, started, ended (-1 while under way),
--          consumer, outcome, error, redriven (-1: it was not), ...}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming

local id = ARGV[6]

local function line(attempt)
  return {
    attempt[1], whole(attempt[2]), whole(attempt[3]), attempt[4], attempt[5], attempt[6],
    whole(attempt[REDRIVEN] or -1),
  }
end

local function history_of(record, state)
  local flat = {}
  local history = type(record[HISTORY]) == 'table' and record[HISTORY] or {}
  for _, attempt in ipairs(history) do
    for _, value in ipairs(line(attempt)) do
      flat[#flat + 1] = value
    end
  end
  if state == 'leased' then
    for _, value in ipairs(line({ record[ATTEMPT], record[STARTED], -1, record[CONSUMER], 0, '' })) do
      flat[#flat + 1] = value
    end
  end
  return flat
end

local function info(group, blob)
  local name, member, score, record = find_copy(group, id, #blob >= HEADER_SIZE and place_of(blob) or '')
  if not name then
    return nil
  end
  record = record or blank_record()
  local state, deliver_at = name, whole(record[DELIVER_AT])
  if WAITS[name] then
    state, deliver_at = state_of(name, score), score
  end
  local consumer = state == 'leased' and record[CONSUMER] or ''
  local max_retries = group_setting(group, 'max_retries', ARGV[7])
  return {
    group, max_retries, state, score, record[ATTEMPT], record[FREE], deliver_at, record[LAST_ERROR], consumer,
    history_of(record, state), head_before(group, name, member),
  }
end

regardless_of_memory()
local names, missing = find_groups(ALL_GROUPS, true, '')
if not names then
  return { whole(now), {}, missing }
end
local report = bring_up_to_date(names, ARGV[7])
local blob = redis.call('HGET', topic_key('events'), id) or ''
local groups = {}
for _, group in ipairs(names) do
  groups[#groups + 1] = info(group, blob)
end
if #groups == 0 then
  return { whole(now), report, NO_EVENT }
end
return { whole(now), report, '', blob, groups }
