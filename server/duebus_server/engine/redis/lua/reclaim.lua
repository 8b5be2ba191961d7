-- LEASED -> READY, for leases that were not reported to the session. The session names those that it knows.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      session
--   8      the session's round from now on, see lease.lua
--   9      fencing tokens of the leases it knows, 8 bytes each
-- returns  how many were taken back
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

regardless_of_memory()
local group, session = ARGV[6], ARGV[7]
check_keys(group)
local known = {}
for at = 1, #ARGV[9], 8 do
  known[string.sub(ARGV[9], at, at + 7)] = true
end
local joined = redis.call('HGET', group_key(group, 'sessions'), session)
if joined then
  local info = unpack_fields(joined, 3) or { session, '', now }
  info[ROUND] = tonumber(ARGV[8])
  redis.call('HSET', group_key(group, 'sessions'), session, cmsgpack.pack(info))
end
local leased_key, records_key = group_key(group, 'leased'), group_key(group, 'records')
local back, changed, members = new_queue(), {}, {}
local all = redis.call('ZRANGE', leased_key, 0, -1)
local ids = {}
for i = 1, #all do
  ids[i] = id_of(all[i])
end
local raws = read_all('HMGET', records_key, ids)
for i = 1, #all do
  local record = read_record(raws[i])
  if record and record[SESSION] == session and not known[packed_fence(record[FENCE])] then
    record[ATTEMPT], record[FENCE] = record[ATTEMPT] - 1, 0
    members[#members + 1] = all[i]
    if HAS_POLICIES and key_of(all[i]) then
      ordering().released(group, { all[i] })
    end
    wait_again(group, back, record, record[DELIVER_AT], all[i])
    changed[#changed + 1] = ids[i]
    changed[#changed + 1] = cmsgpack.pack(record)
  end
end
if #members > 0 then
  write_all('HSET', records_key, changed)
  if HAS_LIMITS then
    policies().count_back(group, #members)
  end
  write_again(group, back)
  add_in_flight(group, session, -#members)
  write_all('ZREM', leased_key, members)
  wake(group, next_due(group))
end
return #members
