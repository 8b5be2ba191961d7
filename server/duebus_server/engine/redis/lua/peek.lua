-- Checks many groups: whether they have something to lease now, how many leases their sessions hold, and whether Redis
-- may have lost one of their keys.
--
-- KEYS     on a cluster, the keys of one topic and of the named groups
-- ARGV     1..5 as in common.lua
--   6...   prefix of a topic, group, number of sessions, session, ...; ...
-- returns  for each group: whether it has something (0, 1; -2: there is no such group; -3: the partition is closed),
--          whether restore.lua has to check its topic (0, 1), leases of each session, ...; all -1 for a group with a
--          key of the wrong type, which must not hide the others
-- includes copies

local found = {}
local at = 6

local function check(prefix, group, first, behind)
  local seen = {}
  local own = redis.call('HMGET', prefix .. 'config', 'partitions', 'gate')
  read_gate(own[2])
  local ready = 0
  for _, name in ipairs({ 'waiting', 'suspects', 'upcoming', HAS_PRIORITIES and 'prioritized', HAS_POLICIES and 'opens' }) do
    ready = ready + (name and redis.call('ZCOUNT', group_key_of(prefix, group, name), '-inf', whole(now)) or 0)
  end
  local expired = redis.call('ZCOUNT', group_key_of(prefix, group, 'leased'), '-inf', whole(now))
  local partitions = tonumber(own[1] or 1)
  if partitions ~= partitions_in(prefix) then
    seen[1] = -3
  elseif redis.call('HEXISTS', prefix .. 'groups', group) == 0 then
    seen[1] = -2
  else
    local leasable = ready + expired > 0 and redis.call('HEXISTS', group_key_of(prefix, group, 'group'), 'paused') == 0
    seen[1] = leasable and 1 or 0
  end
  -- Only a topic with several groups may have fewer copies than events. If there is neither an event nor a session with
  -- leases, nothing was lost.
  local events = redis.call('HLEN', prefix .. 'events')
  local copies = (events > 0 or first < behind) and copies_in(prefix, group)
  seen[2] = copies and (copies < events or not adds_up(prefix, group, copies)) and 1 or 0
  for i = first, behind - 1 do
    seen[#seen + 1] = tonumber(redis.call('HGET', group_key_of(prefix, group, 'in_flight'), ARGV[i]) or 0)
  end
  return seen
end

while at <= #ARGV do
  local behind = at + 3 + tonumber(ARGV[at + 2])
  local fine, seen = pcall(check, ARGV[at], ARGV[at + 1], at + 3, behind)
  for i = 1, behind - at - 1 do
    found[#found + 1] = fine and seen[i] or -1
  end
  at = behind
end
return found
