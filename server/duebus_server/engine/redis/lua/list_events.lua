-- Returns a page of a group's events in one state, in the order of the state's time; O(log n + page).
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      state: 'scheduled', 'ready', 'leased', 'dead'
--   8      newest first (0, 1)
--   9      how many events at most
--   10     how many bytes of bodies at most, but always one event
--   11     where the page before ended: its last score, '' for the first page
--   12     and its last member
--   13     the server's max_retries, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what there is none of, group, its max_retries,
--          more (0, 1), {event, ...}}, an event: {member, score, blob, attempt, deliver at, last error, consumer}
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
local key = group_key(group, is_waiting and 'waiting' or state)

local told = bring_up_to_date({ group }, ARGV[13])

-- The state's part of the set, as ranks: low, and behind the last.
local low, high = 0, redis.call('ZCARD', key)
if is_waiting then
  local ready = redis.call('ZCOUNT', key, '-inf', whole(now))
  if state == 'ready' then
    high = ready
  else
    low = ready
  end
end

if ARGV[11] ~= '' then
  if newest_first then
    high = math.min(high, rank_of(key, ARGV[11], ARGV[12]))
  else
    low = math.max(low, rank_behind(key, ARGV[11], ARGV[12]))
  end
end

local found = {}
if newest_first then
  found = high > low and redis.call('ZRANGE', key, math.max(low, high - limit - 1), high - 1, 'WITHSCORES') or {}
else
  found = high > low and redis.call('ZRANGE', key, low, math.min(high - 1, low + limit), 'WITHSCORES') or {}
end

local page, more = {}, 0
for i = 1, #found / 2 do
  local at = newest_first and #found - 2 * i + 1 or 2 * i - 1
  local member, score = found[at], found[at + 1]
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
  page[i] = { member, score, blob, record[ATTEMPT], deliver_at, record[LAST_ERROR], consumer }
end
return { whole(now), told, '', group, group_setting(group, 'max_retries', ARGV[13]), more, page }
