-- Deletes a group: from now on nothing can be leased from it or settled in it. Its copies of events are put aside for
-- dispose.lua.
--
-- KEYS     topic, group, and where its events are put aside
-- ARGV     1..5 as in common.lua
--   6      group
--   7      a name for this deletion, which no other has
-- returns  {now, '' or what there is none of, how many copies it had}
-- includes leases
-- includes naming
-- includes deleting

regardless_of_memory()
local group, missing = find_group(ARGV[6])
if not group then
  return { whole(now), missing }
end
check_keys(group)
redis.call('SCARD', topic_key('deleted'))

-- Noted first, so that dispose.lua finds what is put aside.
local copies = 0
redis.call('SADD', topic_key('deleted'), ARGV[7])
for _, name in ipairs(SETS) do
  local count = redis.call('ZCARD', group_key(group, name))
  if count > 0 then
    redis.call('RENAME', group_key(group, name), aside_key(ARGV[7], name))
    copies = copies + count
  end
end

redis.call('SREM', topic_key('groups'), group)
redis.call('UNLINK', unpack(keys_of(group)))
tell_change('deleted', group)
return { whole(now), '', copies }
