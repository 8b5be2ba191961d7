-- Returns a part of the keys of a group that have a head.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      the cursor that the previous step returned; 0 in the first step
--   8      the server's max_retries, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, the next cursor (0 at the
--          end), {key, how many of its events are blocked, how many are leased, packed id of its head, ...}}
-- includes records
-- includes ordering
-- includes leases
-- includes naming

local COUNT = 1000

regardless_of_memory()
local group, missing = find_group(ARGV[6])
if not group then
  return { whole(now), {}, missing }
end
local report = bring_up_to_date({ group }, ARGV[8])
local scanned = redis.call('HSCAN', group_key(group, 'keys'), ARGV[7], 'COUNT', COUNT)
local found, heads = {}, scanned[2]
for i = 1, #heads, 2 do
  local key, head = heads[i], heads[i + 1]
  local is_leased = redis.call('ZSCORE', group_key(group, 'leased'), head)
  for _, value in ipairs({ key, ordering().count_due(group, key), is_leased and 1 or 0, id_of(head) }) do
    found[#found + 1] = value
  end
end
return { whole(now), report, '', scanned[1], found }
