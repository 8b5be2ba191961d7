-- includes leases
-- An event and its story in every group that is not done with it.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      packed id
--   7      max_retries of the policy, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, blob, {group, ...}}, a group: {name, state, score, attempt, deliver at, last error, consumer, history},
--          history: {attempt, started, ended (-1 while under way), consumer, outcome, error, ...}; false when the topic
--          does not hold it

local id = ARGV[6]
local blob = redis.call('HGET', topic_key('events'), id)
if not blob then
  return false
end

-- The place of a damaged event is known from its record alone.
local function place_in(group, record)
  local member = (record[PLACE] ~= '' and record[PLACE] or place_of(blob)) .. id
  for _, name in ipairs({ 'waiting', 'leased', 'dead' }) do
    local score = redis.call('ZSCORE', group_key(group, name), member)
    if score then
      if name == 'waiting' then
        name = tonumber(score) > now and 'scheduled' or 'ready'
      end
      return name, score
    end
  end
end

local function story(record, state)
  local flat = {}
  local history = type(record[HISTORY]) == 'table' and record[HISTORY] or {}
  for _, attempt in ipairs(history) do
    local line = { attempt[1], whole(attempt[2]), whole(attempt[3]), attempt[4], attempt[5], attempt[6] }
    for _, value in ipairs(line) do
      flat[#flat + 1] = value
    end
  end
  if state == 'leased' then
    for _, value in ipairs({ record[ATTEMPT], whole(record[STARTED]), '-1', record[CONSUMER], 0, '' }) do
      flat[#flat + 1] = value
    end
  end
  return flat
end

regardless_of_memory()
local names = redis.call('SMEMBERS', topic_key('groups'))
table.sort(names)
if #names == 0 then
  names = { '' }
end
local groups, told = {}, {}
for _, group in ipairs(names) do
  local ended = {}
  expire_leases(group, tonumber(ARGV[7]), 1000, ended)
  for _, value in ipairs(announce_ended(group, ended)) do
    told[#told + 1] = value
  end
  local record = read_record(redis.call('HGET', group_key(group, 'records'), id)) or NO_RECORD
  local state, score = place_in(group, record)
  if state then
    local deliver_at = (state == 'scheduled' or state == 'ready') and score or whole(record[DELIVER_AT])
    local consumer = state == 'leased' and record[CONSUMER] or ''
    groups[#groups + 1] = {
      group, state, score, record[ATTEMPT], deliver_at, record[LAST_ERROR], consumer, story(record, state),
    }
  end
end
return { whole(now), told, blob, groups }
