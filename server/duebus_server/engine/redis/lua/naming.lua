-- Shared by the scripts of admin verbs: resolves the names in a request. Needs leases.lua.

-- What is missing, as these scripts answer it.
local NO_TOPIC, NO_GROUP, NO_EVENT = 'topic', 'group', 'event'
local DEFAULT_GROUP = 'default'

local function topic_exists()
  return redis.call('EXISTS', topic_key('events'), topic_key('recent'), topic_key('groups')) > 0
    or redis.call('HLEN', topic_key('config')) > (GATE > 0 and 1 or 0)
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
  local sets = { group_key('', 'waiting'), group_key('', 'upcoming'), group_key('', 'prioritized') }
  local waits = redis.call('EXISTS', unpack(sets)) > 0
  if waits and not has_lasting_group() then
    return { '', unpack(names) }
  end
  return names
end

-- Ends the leases of groups that have run out, and moves what has become due, after the types of all their keys have
-- been checked.
-- Returns {session, tokens, ...} of leases that have ended. `max_retries` is the server's default.
local function bring_up_to_date(groups, max_retries)
  for _, group in ipairs(groups) do
    check_keys(group)
    ordering().check_key_sets(group)
  end
  local report = {}
  for _, group in ipairs(groups) do
    local ended = {}
    expire_leases(group, max_retries, 1000, ended)
    for _, value in ipairs(announce_ended(group, ended)) do
      report[#report + 1] = value
    end
    move_due(group)
  end
  return report
end

-- The sorted sets of events that are SCHEDULED, READY or BLOCKED.
local WAITS = { waiting = true, suspects = true, prioritized = true, upcoming = true, blocked = true }

-- Those of events that are behind the head of their key, or not due yet.
local WAITS_BEHIND = { upcoming = true, blocked = true }

-- Where a group has an event: the name of its sorted set, and the member; nil if it does not hold it. `place` is the
-- event's own, from its blob; that of a damaged event is known only from its record.
local function find_copy(group, id, place)
  local record = read_record(redis.call('HGET', group_key(group, 'records'), id))
  local member = (record and record[PLACE] ~= '' and record[PLACE] or place) .. id
  for _, name in ipairs(sets_of(member)) do
    local score = redis.call('ZSCORE', group_key(group, name), member)
    if score then
      return name, member, score, record
    end
  end
end

-- The state of an event that waits in this sorted set.
local function state_of(name, score)
  if name == 'blocked' then
    return name
  end
  return (tonumber(score) > now or name == 'upcoming') and 'scheduled' or 'ready'
end

-- The packed id of the head of a key, for an event that is blocked; otherwise ''.
local function head_before(group, name, member)
  local head = name == 'blocked' and redis.call('HGET', group_key(group, 'keys'), key_of(member))
  return head and id_of(head) or ''
end
