-- LEASED -> SCHEDULED after a delay, READY without counting the attempt, or DEAD.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7..9   the server's retry policy: max_retries, first backoff, greatest backoff (microseconds)
--   10     fencing tokens, 8 bytes each
--   11...  packed id, action ('retry', 'dead', 'release'), delay in microseconds ('' for the backoff), jitter (a factor
--          for the backoff), error, pause in microseconds ('' for none) and its scope ('key', 'group'); ...
-- returns  {now, {session, tokens, ...} of leases that have ended, {result, ...}, next due or -1}, one result per
--          lease, see common.lua
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

local STRIDE = 7
regardless_of_memory()
local group = ARGV[6]
local ids, records, members, results = find_held(group, 10, STRIDE)
local policy_max = group_setting(group, 'max_retries', ARGV[7])
local backoff_first = group_setting(group, 'backoff_initial', ARGV[8])
local backoff_max = group_setting(group, 'backoff_max', ARGV[9])

-- As RetryPolicy.backoff_us: doubles with each failure.
local function backoff(record, jitter)
  return math.floor(math.min(backoff_max, backoff_first * 2 ^ math.min(failures(record) - 1, 62)) * jitter + 0.5)
end

-- Whether the event has no key that the nack can pause.
local function lacks_key(i)
  local key = key_of(members[i])
  return ARGV[17 + (i - 1) * STRIDE] == 'key' and (not key or policies().key_policy(group).slots == 0)
end

-- What the nacks pause: until when the group, and key -> until when. And whether some events have keys.
local function read_pauses()
  local group_until, keys_until, has_keys, seen = 0, {}, false, {}
  for i = 1, #ids do
    if records[i] and not seen[ids[i]] then -- one that is named again is settled by then
      local duration, scope = tonumber(ARGV[16 + (i - 1) * STRIDE]), ARGV[17 + (i - 1) * STRIDE]
      has_keys = has_keys or #records[i][PLACE] > 4
      if duration and lacks_key(i) then
        records[i], results[i] = false, NO_KEY
      else
        seen[ids[i]] = true
      end
      if seen[ids[i]] and duration and scope == 'key' then
        local key = key_of(members[i])
        keys_until[key] = math.max(keys_until[key] or 0, now + duration)
      elseif seen[ids[i]] and duration then
        group_until = math.max(group_until, now + duration)
      end
    end
  end
  return group_until, keys_until, has_keys
end

local group_until, keys_until, has_keys = read_pauses()
if next(keys_until) then
  open_gate(POLICIES)
end
if has_keys then
  ordering().check_key_sets(group)
end
if group_until > 0 then
  policies().pause_group(group, group_until)
end
for key, until_us in pairs(keys_until) do
  ordering().pause(group, key, until_us)
end

local ended, changed, waiting, dead, died, leased, released = {}, {}, new_queue(), {}, {}, {}, {}
local soonest = NEVER
for i = 1, #ids do
  local record = records[i]
  if record and record[FENCE] == 0 then
    results[i] = record[IS_DEAD] == 1 and SETTLED or EXPIRED
  elseif record then
    local first = 11 + (i - 1) * STRIDE
    local action, delay, jitter, problem = ARGV[first + 1], ARGV[first + 2], tonumber(ARGV[first + 3]), ARGV[first + 4]
    leased[#leased + 1] = members[i]
    local due = record[DELIVER_AT]
    if action == 'release' then
      remember(record, RELEASED, '')
      record[ATTEMPT] = record[ATTEMPT] - 1
      released[#released + 1] = members[i]
      if HAS_POLICIES then
        ordering().released(group, { members[i] })
      end
    elseif action == 'dead' or failures(record) > allowed_retries(record, policy_max) then
      remember(record, DEAD, problem)
      record[LAST_ERROR], record[IS_DEAD] = problem, 1
    else
      remember(record, NACKED, problem)
      record[LAST_ERROR] = problem
      due = now + (delay == '' and backoff(record, jitter) or tonumber(delay))
    end
    if record[IS_DEAD] == 1 then
      died[#died + 1] = ids[i]
      dead[#dead + 1] = whole(now)
      dead[#dead + 1] = members[i]
    else
      soonest = math.min(soonest, wait_again(group, waiting, record, due, members[i]))
    end
    end_lease(ended, record)
    changed[#changed + 1] = ids[i]
    changed[#changed + 1] = cmsgpack.pack(record)
  end
end
if #leased > 0 then
  if HAS_LIMITS then
    policies().count_back(group, #released)
  end
  write_all('HSET', group_key(group, 'records'), changed)
  soonest = math.min(soonest, write_again(group, waiting))
  write_all('ZADD', group_key(group, 'dead'), dead)
  change_waiting(group, died, -1)
  note_changed('dead', died)
  write_all('ZREM', group_key(group, 'leased'), leased)
  mark(group, 'nacked', #leased)
  free_keys(group, members_of(dead), true)
  wake(group, HAS_LIMITS and next_due(group) or soonest)
end
return { whole(now), announce_ended(group, ended), results, answer_time(next_due(group)) }
