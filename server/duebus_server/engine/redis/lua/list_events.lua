-- includes leases
-- A page of a group's events in one state, in the order of the state's time; O(log n + page).
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      group
--   7      state: 'scheduled', 'ready', 'leased', 'dead'
--   8      newest first (0, 1)
--   9      at most so many events
--   10     at most so many bytes of bodies, but always one event
--   11     where the page before ended: its last score, '' for the first page
--   12     and its last member
--   13     max_retries of the policy, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, more (0, 1), {event, ...}}, an event: {member, score, blob, attempt, deliver at, last error, consumer};
--          false when there is no such group

regardless_of_memory()
local group, state, newest_first = ARGV[6], ARGV[7], ARGV[8] == '1'
local limit, bytes_left = tonumber(ARGV[9]), tonumber(ARGV[10])
local is_waiting = state == 'scheduled' or state == 'ready'
local key = group_key(group, is_waiting and 'waiting' or state)

if group ~= '' and redis.call('SISMEMBER', topic_key('groups'), group) == 0 then
  return false
end

local ended = {}
expire_leases(group, tonumber(ARGV[13]), 1000, ended)
local told = announce_ended(group, ended)

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

-- How many members come before (score, member), by bisection among those of the same score.
local function rank_of(score, member)
  local first, behind = redis.call('ZCOUNT', key, '-inf', '(' .. score), redis.call('ZCOUNT', key, '-inf', score)
  while first < behind do
    local middle = math.floor((first + behind) / 2)
    if redis.call('ZRANGE', key, middle, middle)[1] < member then
      first = middle + 1
    else
      behind = middle
    end
  end
  return first
end

if ARGV[11] ~= '' then
  local rank = rank_of(ARGV[11], ARGV[12])
  if newest_first then
    high = math.min(high, rank)
  else
    local there = redis.call('ZRANGE', key, rank, rank)[1] == ARGV[12]
    low = math.max(low, there and rank + 1 or rank)
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
  bytes_left = bytes_left - (#blob >= HEADER_SIZE and body_size(id_of(member), blob) or 0)
  if i > limit or (i > 1 and bytes_left < 0) then
    more = 1
    break
  end
  local raw = redis.call('HGET', group_key(group, 'records'), id_of(member))
  local record = read_record(raw) or NO_RECORD
  local deliver_at = is_waiting and score or whole(record[DELIVER_AT])
  local consumer = state == 'leased' and record[CONSUMER] or ''
  page[i] = { member, score, blob, record[ATTEMPT], deliver_at, record[LAST_ERROR], consumer }
end
return { whole(now), told, more, page }
