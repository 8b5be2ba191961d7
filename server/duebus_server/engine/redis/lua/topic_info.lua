-- Describes a topic and its groups; O(groups + subscribers).
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6      the server's max_retries, for leases that have run out
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, queued, settings, {group,
--          ...}}, settings: {name, value, ...} of those that differ from the server's; a group: see `describe_group` in
--          description.lua
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming
-- includes description

regardless_of_memory()
local names, missing = find_groups(ALL_GROUPS, true, '')
if not names then
  return { whole(now), {}, missing }
end
local settings = redis.call('HGETALL', topic_key('config'))
local report = bring_up_to_date(names, ARGV[6])
local groups = {}
for i, name in ipairs(names) do
  groups[i] = describe_group(ARGV[1], name, is_ephemeral(name), false)
end
return { whole(now), report, '', queued_in(ARGV[1]), settings, groups }
