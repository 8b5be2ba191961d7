-- Stores events as another engine held them, each with its state in each group. An event that the topic holds, or
-- remembers, is left alone.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6      how many events; then for each:
--            packed id; blob, as for dispatch.lua; when it was dispatched, microseconds;
--            its copies as JSON: an array of [group, whether it is dead (0, 1), when it is due, when it is due or has
--            died, attempts, free attempts, max_retries or -1, last error, history, whether it is the head of its key
--            (0, 1)], the six before that as in a record
-- returns  {now, how many were stored, {group, when the first of them is due there, ...}};
--          {now, -1, group} if there is no such lasting group, and nothing was stored
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

local lasting = {}
for _, group in ipairs(ALL_GROUPS) do
  check_keys(group)
  check_prioritized(group)
  ordering().check_key_sets(group)
  if not is_ephemeral(group) then
    lasting[#lasting + 1] = group
  end
end
check_keys('')
check_prioritized('')
ordering().check_key_sets('')
redis.call('ZCARD', topic_key('recent'))

local exists = { [''] = true }
for _, group in ipairs(lasting) do
  exists[group] = true
end

local function is_known(id)
  local until_us = redis.call('ZSCORE', topic_key('recent'), id)
  return is_stored(id) or (until_us and tonumber(until_us) > now)
end

-- What waits for the topic's first group goes to every lasting group, where the topic has some.
local function receivers(group)
  return group == '' and #lasting > 0 and lasting or { group }
end

local events, is_new = {}, {}
local at = 7
for _ = 1, tonumber(ARGV[6]) do
  local id, blob = ARGV[at], ARGV[at + 1]
  local copies = cjson.decode(ARGV[at + 3])
  for _, copy in ipairs(copies) do
    if not exists[copy[1]] then
      return { whole(now), -1, copy[1] }
    end
  end
  if not is_known(id) and not is_new[id] then
    is_new[id] = true
    local dispatched = struct.pack('>I8', tonumber(ARGV[at + 2]))
    events[#events + 1] = { id = id, blob = blob, dispatched = dispatched, copies = copies }
  end
  at = at + 4
end
if #events == 0 then
  return { whole(now), 0, {} }
end

-- Changes nothing. If the user has no right to ZADD, it fails here, before anything is stored.
redis.call('ZADD', group_key('', 'waiting'), 'XX', 0, '')

local stored, refs, dead_everywhere = {}, {}, 0
local by_group, first_due = {}, {}

local function of_group(group)
  local own = by_group[group]
  if not own then
    own = { queue = new_queue(), dead = {}, records = {}, upcoming = {}, heads = {} }
    by_group[group] = own
  end
  return own
end

-- Whether the copy of an event is the head of its key, and stays that; or is a dead letter that holds it. Then it replaces
-- a head that was never leased.
local function is_head(own, group, event, copy)
  local key, member = key_of(event.place), event.place .. event.id
  local head = own.heads[key] or redis.call('HGET', group_key(group, 'keys'), key)
  local since = head and not own.heads[key] and ordering().replaceable_since(group, head)
  if copy[10] == 0 or (head and not since) then
    return false
  end
  own.heads[key] = member
  if since then
    own.replaced = own.replaced or {}
    own.replaced[head] = since
  end
  return true
end

local function add_copy(event, group, copy)
  local own, is_dead, at_us, history = of_group(group), copy[2] == 1, copy[4], copy[9]
  local record = blank_record()
  record[PLACE], record[CHOSEN], record[IS_DEAD] = event.place, 1, copy[2]
  record[DELIVER_AT], record[ATTEMPT], record[FREE], record[MAX_RETRIES] = copy[3], copy[5], copy[6], copy[7]
  record[LAST_ERROR] = copy[8]
  local last = history[#history]
  if last then
    record[STARTED], record[CONSUMER], record[HISTORY] = last[2], last[4], history
  end
  if key_of(event.place) then
    record[STARTED] = is_head(own, group, event, copy) and math.max(1, record[STARTED]) or 0
  end
  if last or is_dead or copy[5] > 0 then
    own.records[#own.records + 1] = event.id
    own.records[#own.records + 1] = cmsgpack.pack(record)
  end
  if is_dead then
    own.dead[#own.dead + 1] = whole(at_us)
    own.dead[#own.dead + 1] = event.place .. event.id
  elseif key_of(event.place) and record[STARTED] == 0 then
    own.upcoming[#own.upcoming + 1] = whole(at_us)
    own.upcoming[#own.upcoming + 1] = event.place .. event.id
    first_due[group] = math.min(first_due[group] or NEVER, at_us)
  else
    enqueue(own.queue, record, at_us, event.place .. event.id)
    first_due[group] = math.min(first_due[group] or NEVER, at_us)
  end
end

local first_place = redis.call('HINCRBY', topic_key('meta'), 'places', #events) - #events
for i, event in ipairs(events) do
  local flags = string.byte(event.blob)
  local marks = (bit.band(flags, KEYED) > 0 and 1 or 0) + (bit.band(flags, PRIORITIZED) > 0 and 2 or 0)
  local place = struct.pack('>I4', (4 * (first_place + i - 1) + marks) % 4294967296)
  local blob = event.dispatched .. place .. event.blob
  event.place = place_of(blob)
  stored[#stored + 1] = event.id
  stored[#stored + 1] = blob
  local holders, waits_in = 0, 0
  for _, copy in ipairs(event.copies) do
    for _, group in ipairs(receivers(copy[1])) do
      add_copy(event, group, copy)
      holders, waits_in = holders + 1, waits_in + 1 - copy[2]
    end
  end
  if holders > 1 then
    refs[#refs + 1] = event.id
    refs[#refs + 1] = cmsgpack.pack({ holders, waits_in })
  end
  dead_everywhere = dead_everywhere + (waits_in == 0 and 1 or 0)
end

write_all('HSET', topic_key('events'), stored)
write_all('HSET', topic_key('refs'), refs)
count_dead(dead_everywhere)
local dues = {}
for group, own in pairs(by_group) do
  write_all('HSET', group_key(group, 'records'), own.records)
  write_queue(group, own.queue)
  write_all('ZADD', group_key(group, 'dead'), own.dead)
  for head, since in pairs(own.replaced or {}) do
    ordering().block_head(group, head, since)
  end
  for key, head in pairs(own.heads) do
    redis.call('HSET', group_key(group, 'keys'), key, head)
  end
  ordering().add_upcoming(group, own.upcoming)
  move_due(group)
  if first_due[group] and wake(group, first_due[group]) and group ~= '' then
    dues[#dues + 1] = group
    dues[#dues + 1] = whole(first_due[group])
  end
end
return { whole(now), #events, dues }
