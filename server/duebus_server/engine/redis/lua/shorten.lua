-- Shortens leases: the named ones that the session still holds run out within a grace period.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      session
--   8      grace period, microseconds
--   9      fencing tokens of leases, 8 bytes each
--   10...  their packed ids
-- returns  {now, next due or -1}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

regardless_of_memory()
local group, session = ARGV[6], ARGV[7]
local expires = now + tonumber(ARGV[8])
local ids, records, members = find_held(group, 9)
local leased = {}
for i = 1, #ids do
  if records[i] and records[i][SESSION] == session then
    leased[#leased + 1] = whole(expires)
    leased[#leased + 1] = members[i]
  end
end
for first = 1, #leased, STEP do
  redis.call('ZADD', group_key(group, 'leased'), 'LT', unpack(leased, first, math.min(first + STEP - 1, #leased)))
end
if #leased > 0 then
  wake(group, expires)
end
return { whole(now), answer_time(next_due(group)) }
