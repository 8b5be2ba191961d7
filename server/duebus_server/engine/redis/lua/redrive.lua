-- DEAD -> READY, or SCHEDULED if a rate spreads them over time: one step. They get all their retries again.
--
-- KEYS     topic, group
-- ARGV     1..14 and 17... as in dead_letters.lua
--   15     rate, in events a second; 0: all at once
--   16     how many the earlier steps have moved
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, moved, when the first step
--          was made, more (0, 1), score and member of the last that was examined, group, next due or -1}
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases
-- includes naming
-- includes ranks
-- includes dead_letters

regardless_of_memory()
local group, missing = find_group(ARGV[6])
if not group then
  return { whole(now), {}, missing }
end
local report = bring_up_to_date({ group }, ARGV[13])
local began = tonumber(ARGV[8]) or now
local rate, moved_before = tonumber(ARGV[15]), tonumber(ARGV[16])
local letters, last, more = step_through(group, began)

local ids, waiting, upcoming, members, changed, lost = {}, new_queue(), {}, {}, {}, {}
local soonest = NEVER
for i, letter in ipairs(letters) do
  local id, member, record = letter[1], letter[2], letter[4]
  local due = began
  if rate > 0 then
    due = began + math.floor((moved_before + i - 1) * 1000000 / rate)
  end
  soonest = math.min(soonest, due)
  ids[i], members[i] = id, member
  local holds = key_of(member) and HAS_POLICIES and ordering().keeps_place(group, member)
  if holds then
    due = math.max(due, ordering().opening_of(group, key_of(member)))
    enqueue(waiting, blank_record(), due, member)
  elseif key_of(member) then
    upcoming[#upcoming + 1] = whole(due)
    upcoming[#upcoming + 1] = member
  else
    enqueue(waiting, blank_record(), due, member)
  end
  if record then
    local history = type(record[HISTORY]) == 'table' and record[HISTORY] or {}
    if #history > 0 then
      history[#history][REDRIVEN] = now
    end
    record[ATTEMPT], record[FREE], record[FENCE], record[IS_DEAD], record[DELIVER_AT] = 0, 0, 0, 0, due
    record[STARTED] = holds and now or 0
    changed[#changed + 1] = id
    changed[#changed + 1] = cmsgpack.pack(record)
  else
    lost[#lost + 1] = id -- its history is lost; the event counts as never leased
  end
end
write_all('HSET', group_key(group, 'records'), changed)
write_all('HDEL', group_key(group, 'records'), lost)
write_queue(group, waiting)
ordering().add_upcoming(group, upcoming)
write_all('ZREM', group_key(group, 'dead'), members)
change_waiting(group, ids, 1)
move_due(group)
wake_ready(group, soonest)
return { whole(now), report, '', #letters, whole(began), more, last[1], last[2], group, answer_time(next_due(group)) }
