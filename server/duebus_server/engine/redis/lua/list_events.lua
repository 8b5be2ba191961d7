-- Returns a page of a group's events in one state, in the order of the state's time; O(log n + page).
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      state: 'scheduled', 'ready', 'blocked', 'leased', 'dead'
--   8      newest first (0, 1)
--   9      how many events, at most
--   10     how many bytes of bodies, at most, but always one event
--   11     where the previous page ended: score, '' for the first page
--   12     and member
--   13     the server's max_retries, for leases that have run out
--   14     only events with this key; '' for any
--   15     how many dead letters are examined for it, at most
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, group, its max_retries,
--          {score, member} where the page ends, {} if no more follow, {event, ...}}, an event: {member, score, blob,
--          attempt, free attempts, deliver at, last error, consumer, {}, packed id of the event that blocks it or ''}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming
-- includes ranks

regardless_of_memory()
local group, missing = find_group(ARGV[6])
if not group then
  return { whole(now), {}, missing }
end
local state, newest_first = ARGV[7], ARGV[8] == '1'
local limit, bytes_left = tonumber(ARGV[9]), tonumber(ARGV[10])
local is_waiting = state == 'scheduled' or state == 'ready'
local key, max_examined = ARGV[14], tonumber(ARGV[15])

local report = bring_up_to_date({ group }, ARGV[13])

-- The state's part of a set, as ranks: the first, and the one after the last.
local function ranks_of(name, set)
  local low, high = 0, redis.call('ZCARD', set)
  if state == 'ready' then
    high = redis.call('ZCOUNT', set, '-inf', whole(now))
  elseif state == 'scheduled' and name ~= 'upcoming' then
    low = redis.call('ZCOUNT', set, '-inf', whole(now))
  end
  return low, high
end

-- What this page takes from a set, if it takes nothing from another: at most `count` of {member, score}, in ascending
-- order.
local function part_of(name, count)
  local set = group_key(group, name)
  local low, high = ranks_of(name, set)
  if ARGV[11] ~= '' and newest_first then
    high = math.min(high, rank_of(set, ARGV[11], ARGV[12]))
  elseif ARGV[11] ~= '' then
    low = math.max(low, rank_behind(set, ARGV[11], ARGV[12]))
  end
  if newest_first then
    low = math.max(low, high - count)
  else
    high = math.min(high, low + count)
  end
  local flat, found = high > low and redis.call('ZRANGE', set, low, high - 1, 'WITHSCORES') or {}, {}
  for i = 1, #flat, 2 do
    found[#found + 1] = { flat[i], flat[i + 1] }
  end
  return found
end

local function comes_first(one, other)
  local score, other_score = tonumber(one[2]), tonumber(other[2])
  if score == other_score then
    return precedes(one[1], other[1])
  end
  return score < other_score
end

-- Whether an event is behind where the previous page ended.
local function is_behind(one)
  local last = { ARGV[12], ARGV[11] }
  if ARGV[11] == '' then
    return true
  end
  return comes_first(newest_first and one or last, newest_first and last or one)
end

-- The head of the key, as {member, score}, if it is in this state.
local function head_in_state()
  local head = redis.call('HGET', group_key(group, 'keys'), key)
  for _, name in ipairs(head and (is_waiting and WAITING_SETS or { state }) or {}) do
    local score = redis.call('ZSCORE', group_key(group, name), head)
    if score and (not is_waiting or state_of(name, score) == state) then
      return { head, score }
    end
  end
end

-- Of the events behind the head of the key, as `part_of`.
local function part_behind_head()
  local low, high = '[' .. ordering().entries_at(key, 0), '(' .. ordering().entries_at(key, now + 1)
  if state == 'scheduled' then
    low, high = '[' .. ordering().entries_at(key, now + 1), '(' .. key .. '\1'
  elseif state ~= 'blocked' then
    return {}
  end
  if ARGV[11] ~= '' and key_of(ARGV[12]) == key then
    local last = '(' .. ordering().entry_of(ARGV[12], tonumber(ARGV[11]))
    low, high = newest_first and low or last, newest_first and last or high
  end
  local command, from, to = 'ZRANGEBYLEX', low, high
  if newest_first then
    command, from, to = 'ZREVRANGEBYLEX', high, low
  end
  local found = {}
  for _, entry in ipairs(redis.call(command, group_key(group, 'by_key'), from, to, 'LIMIT', 0, limit + 1)) do
    local member, due = ordering().read_entry(entry, key)
    found[#found + 1] = { member, whole(due) }
  end
  return found
end

-- The events with the key in these sets, as `part_of`, and where the search has ended if there may be more.
local function examine(names)
  local found, searched_to = {}, nil
  local function precedes_in_page(one, other)
    return comes_first(newest_first and other or one, newest_first and one or other)
  end
  for _, name in ipairs(names) do
    local examined = part_of(name, max_examined)
    local last = #examined == max_examined and examined[newest_first and 1 or #examined]
    if last and not (searched_to and precedes_in_page(searched_to, last)) then
      searched_to = last
    end
    for _, one in ipairs(examined) do
      found[#found + 1] = key_of(one[1]) == key and one or nil
    end
  end
  local kept = {}
  for _, one in ipairs(found) do
    kept[#kept + 1] = not (searched_to and precedes_in_page(searched_to, one)) and one or nil
  end
  return kept, searched_to
end

-- The events of which a page is made, in ascending order, and where the search has ended if there may be more.
local function find()
  local found, searched_to = {}, nil
  if key ~= '' and (state == 'dead' or HAS_POLICIES and state ~= 'blocked') then
    found, searched_to = examine(is_waiting and WAITING_SETS or { state })
    for _, one in ipairs(part_behind_head()) do
      found[#found + 1] = one
    end
  elseif key ~= '' then
    found = part_behind_head()
    local head = head_in_state()
    if head and is_behind(head) then
      found[#found + 1] = head
    end
  else
    for _, name in ipairs(is_waiting and WAITING_SETS or { state }) do
      for _, one in ipairs(part_of(name, limit + 1)) do
        found[#found + 1] = one
      end
    end
    for _, one in ipairs(state == 'scheduled' and part_of('upcoming', limit + 1) or {}) do
      found[#found + 1] = one
    end
  end
  table.sort(found, comes_first)
  return found, searched_to
end

local found, searched_to = find()
local page, ends = {}, searched_to and { searched_to[2], searched_to[1] } or {}
for i = 1, #found do
  local member, score = unpack(found[newest_first and #found - i + 1 or i])
  local blob = redis.call('HGET', topic_key('events'), id_of(member)) or ''
  bytes_left = bytes_left - (#blob >= HEADER_SIZE and body_size(blob) or 0)
  if i > limit or (i > 1 and bytes_left < 0) then
    ends = { page[i - 1][2], page[i - 1][1] }
    break
  end
  local raw = redis.call('HGET', group_key(group, 'records'), id_of(member))
  local record = read_record(raw) or blank_record()
  local deliver_at = (is_waiting or state == 'blocked') and score or whole(record[DELIVER_AT])
  local consumer = state == 'leased' and record[CONSUMER] or ''
  page[i] = {
    member, score, blob, record[ATTEMPT], record[FREE], deliver_at, record[LAST_ERROR], consumer, {},
    head_before(group, state, member),
  }
end
return { whole(now), report, '', group, group_setting(group, 'max_retries', ARGV[13]), ends, page }
