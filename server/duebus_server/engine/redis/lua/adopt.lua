-- LEASED -> LEASED: moves leases to another session and renews them.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      session
--   8      consumer
--   9      lease, microseconds; '' for the topic's
--   10     the server's lease, where the topic has none of its own
--   11     fencing tokens of leases, 8 bytes each
--   12...  their packed ids
-- returns  {now, {session, tokens, ...} of leases that have ended, {result, ...}, next due or -1, when the leases
--          expire, {place of each suspect, from 0, ...}}, a result is the size of the event's body, or as in
--          common.lua; or {now, whether there is such a group (0, 1)} if the session has not joined, or has left
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

regardless_of_memory()
local group, session = ARGV[6], ARGV[7]
if redis.call('HEXISTS', group_key(group, 'sessions'), session) == 0 then
  return { whole(now), redis.call('HEXISTS', topic_key('groups'), group) }
end
local ids, records, members, results = find_held(group, 11)
local expires = whole(now + (tonumber(ARGV[9]) or setting('lease', ARGV[10])))
local ended, changed, leased, suspects = {}, {}, {}, {}
local moved = 0
for i = 1, #ids do
  local record = records[i]
  if record then
    if record[SESSION] ~= session then
      local fence = record[FENCE]
      end_lease(ended, record)
      record[FENCE], record[SESSION], record[CONSUMER] = fence, session, ARGV[8]
      moved = moved + 1
    end
    record[STALLED] = 0
    if is_suspect(record) then
      suspects[#suspects + 1] = i - 1
    end
    changed[#changed + 1] = ids[i]
    changed[#changed + 1] = cmsgpack.pack(record)
    leased[#leased + 1] = expires
    leased[#leased + 1] = members[i]
    local blob = redis.call('HGET', topic_key('events'), ids[i])
    results[i] = blob and #blob >= HEADER_SIZE and body_size(blob) or 0
  end
end
if #leased > 0 then
  write_all('HSET', group_key(group, 'records'), changed)
  write_all('ZADD', group_key(group, 'leased'), leased)
  wake(group, next_due(group))
  add_in_flight(group, session, moved)
end
return { whole(now), announce_ended(group, ended), results, answer_time(next_due(group)), expires, suspects }
