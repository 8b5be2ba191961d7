-- LEASED -> LEASED: renews leases.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      lease, microseconds; '' for the topic's
--   8      the server's lease, where the topic has none of its own
--   9      fencing tokens of leases, 8 bytes each
--   10...  their packed ids
-- returns  {now, {session, '', ...} of sessions whose leases were extended, {result, ...}, next due or -1}, one result
--          per lease, see common.lua
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

regardless_of_memory()
local group = ARGV[6]
local ids, records, members, results = find_held(group, 9)
local expires = whole(now + (tonumber(ARGV[7]) or setting('lease', ARGV[8])))
local leased, changed, extended = {}, {}, {}
for i = 1, #ids do
  local record = records[i]
  if record then
    leased[#leased + 1] = expires
    leased[#leased + 1] = members[i]
    extended[record[SESSION]] = {}
    if record[STALLED] == 1 then
      record[STALLED] = 0
      changed[#changed + 1] = ids[i]
      changed[#changed + 1] = cmsgpack.pack(record)
    end
  end
end
write_all('HSET', group_key(group, 'records'), changed)
write_all('ZADD', group_key(group, 'leased'), leased)
wake(group, next_due(group))
return { whole(now), announce_ended(group, extended), results, answer_time(next_due(group)) }
