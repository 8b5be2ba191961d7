-- SCHEDULED, READY or BLOCKED -> one of these at another time, for copies of some events: all or none.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6      in every group (0, 1)
--   7      or in this one
--   8      the server's max_retries, for leases that have run out
--   9      due: 'd<microseconds>' from now or 'a<microseconds>'; '' only to check whether it is possible
--   10...  packed ids
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, {group, next due or -1,
--          ...}}; if no group holds some of the events, their places in the request (from 0) follow; if a copy does not
--          wait, 'busy' replaces what is missing, followed by the place, a group and a state
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming

regardless_of_memory()
local groups, missing = find_groups(ALL_GROUPS, ARGV[6] == '1', ARGV[7])
if not groups then
  return { whole(now), {}, missing }
end
local report = bring_up_to_date(groups, ARGV[8])
local due = ARGV[9] ~= '' and due_at(ARGV[9])

-- Moves the copy of an event that has a key, which counts as never leased from then on. Returns its member if it may
-- have been a head.
local function move_keyed(group, id, name, member, score, record)
  if record then
    record[STARTED], record[DELIVER_AT] = 0, due
    redis.call('HSET', group_key(group, 'records'), id, cmsgpack.pack(record))
  end
  ordering().add_upcoming(group, { whole(due), member })
  if name ~= 'upcoming' then
    remove_waiting(group, name, { member })
  end
  if WAITS_BEHIND[name] and tonumber(score) ~= due then
    redis.call('ZREM', group_key(group, 'by_key'), ordering().entry_of(member, tonumber(score)))
  end
  return not WAITS_BEHIND[name] and member or nil
end

local moves, keyed = {}, {} -- by group: by sorted set: due, member, ...; arguments of `move_keyed`
local unknown = {}
for i = 10, #ARGV do
  local id = ARGV[i]
  local blob = redis.call('HGET', topic_key('events'), id) or ''
  local own_place = #blob >= HEADER_SIZE and place_of(blob) or ''
  local held = false
  for _, group in ipairs(groups) do
    local name, member, score, record = find_copy(group, id, own_place)
    if name and not WAITS[name] then
      return { whole(now), report, 'busy', i - 10, group, name }
    elseif name then
      held = true
      moves[group], keyed[group] = moves[group] or new_queue(), keyed[group] or {}
      if key_of(member) then
        table.insert(keyed[group], { id, name, member, score, record })
      else
        table.insert(moves[group][name], whole(due or now))
        table.insert(moves[group][name], member)
      end
    end
  end
  if not held then
    unknown[#unknown + 1] = i - 10
  end
end

if #unknown > 0 then
  return { whole(now), report, NO_EVENT, unpack(unknown) }
end
if not due then
  return { whole(now), report, '', {} }
end
local dues = {}
for group, queue in pairs(moves) do
  write_queue(group, queue)
  local ended = {}
  for _, one in ipairs(keyed[group]) do
    ended[#ended + 1] = move_keyed(group, unpack(one, 1, 5))
  end
  free_keys(group, ended)
  move_due(group)
  wake(group, due)
  dues[#dues + 1] = group
  dues[#dues + 1] = answer_time(next_due(group))
end
return { whole(now), report, '', dues }
