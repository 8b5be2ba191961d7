-- Returns a page of a group's events in one state, in the order of the state's time; O(log n + page).
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      state: 'scheduled', 'ready', 'leased', 'dead'
--   8      newest first (0, 1)
--   9      how many events, at most
--   10     how many bytes of bodies, at most, but always one event
--   11     where the previous page ended: its last score, '' for the first page
--   12     and its last member
--   13     the server's max_retries, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, group, its max_retries,
--          more (0, 1), {event, ...}}, an event: {member, score, blob, attempt, free attempts, deliver at, last error,
--          consumer}
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

local report = bring_up_to_date({ group }, ARGV[13])

-- The state's part of a set, as ranks: the first, and the one after the last.
local function ranks_of(key)
  local low, high = 0, redis.call('ZCARD', key)
  if state == 'ready' then
    high = redis.call('ZCOUNT', key, '-inf', whole(now))
  elseif state == 'scheduled' then
    low = redis.call('ZCOUNT', key, '-inf', whole(now))
  end
  return low, high
end

-- What this page takes from a set, if it takes nothing from another: {{member, score}, ...}, in ascending order.
local function part_of(name)
  local key = group_key(group, name)
  local low, high = ranks_of(key)
  if ARGV[11] ~= '' and newest_first then
    high = math.min(high, rank_of(key, ARGV[11], ARGV[12]))
  elseif ARGV[11] ~= '' then
    low = math.max(low, rank_behind(key, ARGV[11], ARGV[12]))
  end
  if newest_first then
    low = math.max(low, high - limit - 1)
  else
    high = math.min(high, low + limit + 1)
  end
  local flat, found = high > low and redis.call('ZRANGE', key, low, high - 1, 'WITHSCORES') or {}, {}
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

local found = part_of(is_waiting and 'waiting' or state)
if is_waiting then
  for _, suspect in ipairs(part_of('suspects')) do
    found[#found + 1] = suspect
  end
  table.sort(found, comes_first)
end

local page, more = {}, 0
for i = 1, #found do
  local member, score = unpack(found[newest_first and #found - i + 1 or i])
  local blob = redis.call('HGET', topic_key('events'), id_of(member)) or ''
  bytes_left = bytes_left - (#blob >= HEADER_SIZE and body_size(blob) or 0)
  if i > limit or (i > 1 and bytes_left < 0) then
    more = 1
    break
  end
  local raw = redis.call('HGET', group_key(group, 'records'), id_of(member))
  local record = read_record(raw) or blank_record()
  local deliver_at = is_waiting and score or whole(record[DELIVER_AT])
  local consumer = state == 'leased' and record[CONSUMER] or ''
  page[i] = { member, score, blob, record[ATTEMPT], record[FREE], deliver_at, record[LAST_ERROR], consumer }
end
return { whole(now), report, '', group, group_setting(group, 'max_retries', ARGV[13]), more, page }
