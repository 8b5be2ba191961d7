-- LEASED -> SCHEDULED after a delay, READY without counting the attempt, or DEAD.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7..9   the server's retry policy: max_retries, first backoff, greatest backoff (microseconds)
--   10     fencing tokens, 8 bytes each
--   11...  packed id, action ('retry', 'dead', 'release'), delay in microseconds ('' for the backoff), jitter (a factor
--          for the backoff), error; ...
-- returns  {now, {session, tokens, ...} of leases that have ended, {result, ...}, next due or -1}, one result per
--          lease, see common.lua
-- includes records
-- includes ordering
-- includes leases

local STRIDE = 5
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

redis.call('ZCARD', group_key(group, 'suspects'))
local ended, changed, waiting, dead, died, leased = {}, {}, new_queue(), {}, {}, {}
local soonest, has_keys = NEVER, false
for i = 1, #ids do
  local record = records[i]
  has_keys = has_keys or (record and #record[PLACE] > 4)
  if record and record[FENCE] == 0 then
    results[i] = record[IS_DEAD] == 1 and SETTLED or EXPIRED
  elseif record then
    local first = 11 + (i - 1) * STRIDE
    local action, delay, jitter, problem = ARGV[first + 1], ARGV[first + 2], tonumber(ARGV[first + 3]), ARGV[first + 4]
    leased[#leased + 1] = members[i]
    if action == 'release' then
      remember(record, RELEASED, '')
      record[ATTEMPT] = record[ATTEMPT] - 1
    elseif action == 'dead' or failures(record) > allowed_retries(record, policy_max) then
      remember(record, DEAD, problem)
      record[LAST_ERROR], record[IS_DEAD] = problem, 1
    else
      remember(record, NACKED, problem)
      record[LAST_ERROR] = problem
      record[DELIVER_AT] = now + (delay == '' and backoff(record, jitter) or tonumber(delay))
    end
    if record[IS_DEAD] == 1 then
      died[#died + 1] = ids[i]
      dead[#dead + 1] = whole(now)
      dead[#dead + 1] = members[i]
    else
      enqueue(waiting, record, record[DELIVER_AT], members[i])
      soonest = math.min(soonest, record[DELIVER_AT])
    end
    end_lease(ended, record)
    changed[#changed + 1] = ids[i]
    changed[#changed + 1] = cmsgpack.pack(record)
  end
end
if has_keys then
  ordering().check_key_sets(group)
end
if #leased > 0 then
  write_all('HSET', group_key(group, 'records'), changed)
  write_queue(group, waiting)
  write_all('ZADD', group_key(group, 'dead'), dead)
  change_waiting(group, died, -1)
  note_changed('dead', died)
  write_all('ZREM', group_key(group, 'leased'), leased)
  mark(group, 'nacked', #leased)
  wake(group, soonest)
  free_keys(group, members_of(dead))
end
return { whole(now), announce_ended(group, ended), results, answer_time(next_due(group)) }
