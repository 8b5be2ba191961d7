-- LEASED -> removed. The event itself is removed with the last group that held it.
--
-- KEYS     topic, group
-- ARGV     1..5 as in common.lua
--   6      group
--   7      the server's dedupe window, microseconds
--   8      fencing tokens of leases, 8 bytes each
--   9...   their packed ids
-- returns  {now, {session, tokens, ...} of leases that have ended, {result, ...}, since when an event is due that
--          was blocked, or -1}, one result per lease, see common.lua; empty if all are DONE
-- includes records
-- includes policies
-- includes waking
-- includes ordering
-- includes slots
-- includes admission
-- includes leases

regardless_of_memory()
local group = ARGV[6]
local ids, fences, raws = read_named(group, 8, 1)
local window = setting('dedupe_window', ARGV[7])
-- As `check_keys`, for what is written below and is not read before.
redis.call('HLEN', topic_key('events'))
redis.call('HLEN', group_key(group, 'in_flight'))
if HAS_LIMITS then
  next_due(group) -- reads what it reads again when the leases have ended
end
local has_refs = redis.call('HLEN', topic_key('refs')) > 0
if has_refs then
  redis.call('HLEN', topic_key('meta'))
end

-- `asked` has the numbers of the leases that are still in their event's record; the other arrays are filled for these.
local asked, held, members, chosen, sessions, results = {}, {}, {}, {}, {}, {}
local has_keys, freed_due = false, NEVER
for i = 1, #ids do
  if not raws[i] then
    results[i] = never_leased(group, ids[i]) and EXPIRED or SETTLED
  else
    local place, is_chosen, session, is_dead = read_lease(raws[i], fences[i])
    if place then
      asked[#asked + 1] = i
      has_keys = has_keys or #place > 4
      held[i], members[i], chosen[i], sessions[i], results[i] = true, place .. ids[i], is_chosen, session, DONE
    else
      results[i] = is_dead and SETTLED or EXPIRED
    end
  end
end
drop_expired(group, asked, members, held, results)
if has_keys then
  check_keys(group)
  ordering().check_key_sets(group)
end

local ended, done, leased, gone, was_chosen, remembered = {}, {}, {}, {}, {}, {}
for _, i in ipairs(asked) do
  local id = ids[i]
  if held[i] and was_chosen[id] then -- named twice
    results[i] = SETTLED
  elseif held[i] then
    done[#done + 1], leased[#leased + 1], was_chosen[id] = id, members[i], chosen[i]
    note_end(ended, sessions[i], fences[i])
  end
end
if #done > 0 then
  -- In this order, so that an event is still leased, or merely left behind, if Redis refuses one of the writes.
  write_all('HDEL', group_key(group, 'records'), done)
  write_all('ZREM', group_key(group, 'leased'), leased)
  if has_refs then
    drop_copies(done, not is_ephemeral(group), gone)
  else
    gone = done
  end
  for _, id in ipairs(gone) do
    if was_chosen[id] == 1 then
      remembered[#remembered + 1] = id
    end
  end
  write_all('HDEL', topic_key('events'), gone)
  remember_ids(remembered, window)
  mark(group, 'acked', #done)
  freed_due = has_keys and free_keys(group, leased) or NEVER
  if HAS_LIMITS then -- the group may have had as many leases as it may
    freed_due = next_due(group)
    wake(group, freed_due)
  end
end
return { whole(now), announce_ended(group, ended), #done < #ids and results or {}, answer_time(freed_due) }
