-- Ends the sessions of a dead replica in a group. The leases that they still hold run out now, except those of pulls.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      the dead replica
-- returns  until when an ephemeral group without sessions is kept, or -1
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes leaving

regardless_of_memory()
local group, dead = ARGV[6], ARGV[7] .. '/'
local PULL = '~'
local function is_its(session)
  return string.sub(session, 1, #dead) == dead
end
local function is_of_pull(session)
  return string.sub(session, #dead + 1, #dead + 1) == PULL
end

check_keys(group)
local all = redis.call('ZRANGE', group_key(group, 'leased'), 0, -1)
local ids = {}
for i = 1, #all do
  ids[i] = id_of(all[i])
end
local raws = read_all('HMGET', group_key(group, 'records'), ids)
local leased = {}
for i = 1, #all do
  local record = read_record(raws[i])
  if record and is_its(record[SESSION]) and not is_of_pull(record[SESSION]) then
    leased[#leased + 1] = whole(now)
    leased[#leased + 1] = all[i]
  end
end
write_all('ZADD', group_key(group, 'leased'), leased)
local sessions = {}
for _, session in ipairs(redis.call('HKEYS', group_key(group, 'sessions'))) do
  if is_its(session) then
    sessions[#sessions + 1] = session
  end
end
local kept_until = remove_sessions(group, sessions, 0)
if #all > 0 then
  wake(group, now) -- even if only pulls held something: the other replicas may not know when it runs out
end
return kept_until
