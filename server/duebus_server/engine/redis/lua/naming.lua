-- Shared by the scripts of admin verbs: what the names in a request mean. Needs leases.lua.

-- What is missing, as these scripts answer it.
local NO_TOPIC, NO_GROUP, NO_EVENT = 'topic', 'group', 'event'
local DEFAULT_GROUP = 'default'

local function topic_exists()
  return redis.call('EXISTS', topic_key('events'), topic_key('recent'), topic_key('groups'), topic_key('config')) > 0
end

local function has_lasting_group()
  for _, kind in ipairs(redis.call('HVALS', topic_key('groups'))) do
    if kind == LASTING then
      return true
    end
  end
  return false
end

-- The group of this name, or nil and what is missing. '' is the default group, or, while the topic has no lasting
-- group, what waits for the first one.
local function find_group(name)
  local meant = name
  if name == '' and has_lasting_group() then
    meant = DEFAULT_GROUP
  end
  if meant ~= '' and redis.call('HEXISTS', topic_key('groups'), meant) == 1 then
    return meant
  end
  if not topic_exists() then
    return nil, NO_TOPIC
  end
  if meant == '' then
    return ''
  end
  return nil, NO_GROUP
end

-- The groups of a topic, given all of their names: all of them in order, or only the one called `name`. While none is
-- lasting, the group without a name comes first, with what waits for the first lasting one. Or nil and what is missing.
local function find_groups(names, all, name)
  if not all then
    local group, missing = find_group(name)
    return group and { group }, missing
  end
  if not topic_exists() then
    return nil, NO_TOPIC
  end
  table.sort(names)
  if redis.call('EXISTS', group_key('', 'waiting')) == 1 and not has_lasting_group() then
    return { '', unpack(names) }
  end
  return names
end

-- Ends the leases of groups that have run out, after the types of all their keys have been checked.
-- Returns {session, tokens, ...} of leases that have ended. `max_retries` is the server's default.
local function bring_up_to_date(groups, max_retries)
  for _, group in ipairs(groups) do
    check_keys(group)
  end
  local report = {}
  for _, group in ipairs(groups) do
    local ended = {}
    expire_leases(group, max_retries, 1000, ended)
    for _, value in ipairs(announce_ended(group, ended)) do
      report[#report + 1] = value
    end
  end
  return report
end

-- The sorted sets of events that are SCHEDULED or READY.
local WAITS = { waiting = true, suspects = true }

-- Where a group has an event: the name of its sorted set, and the member; nil if it does not hold it. `place` is the
-- event's own, from its blob; that of a damaged event is known only from its record.
local function find_copy(group, id, place)
  local record = read_record(redis.call('HGET', group_key(group, 'records'), id))
  local member = (record and record[PLACE] ~= '' and record[PLACE] or place) .. id
  for _, name in ipairs({ 'waiting', 'suspects', 'leased', 'dead' }) do
    local score = redis.call('ZSCORE', group_key(group, name), member)
    if score then
      return name, member, score, record
    end
  end
end
