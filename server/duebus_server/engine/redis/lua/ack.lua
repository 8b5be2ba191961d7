-- LEASED -> removed. The event itself goes with the last group that held it.
--
-- KEYS[1]  the topic's events
-- ARGV     1..5 as in common.lua
--   6      group
--   7      the server's dedupe window, microseconds
--   8...   packed id, fencing token, ...
-- returns  {now, {session, tokens, ...} of leases that have ended, {result, ...}, -1}, a result a lease: see common.lua
-- includes leases

regardless_of_memory()
local group = ARGV[6]
local ids, records, members, results = find_held(group, 8, (#ARGV - 7) / 2, 2)
local window = setting('dedupe_window', ARGV[7])

local ended, done, leased, chosen, gone = {}, {}, {}, {}, {}
for i = 1, #ids do
  local record = records[i]
  if record and record[FENCE] == 0 then
    records[i], results[i] = false, SETTLED
  elseif record then
    done[#done + 1] = ids[i]
    leased[#leased + 1] = members[i]
    end_lease(ended, record)
  end
end
if #done > 0 then
  if redis.call('EXISTS', topic_key('refs')) == 0 then
    gone = done
  else
    let_go(done, false, gone)
  end
  write_all('ZREM', group_key(group, 'leased'), leased)
  write_all('HDEL', group_key(group, 'records'), done)
  write_all('HDEL', topic_key('events'), gone)
  local is_gone = {}
  for _, id in ipairs(gone) do
    is_gone[id] = true
  end
  for i = 1, #ids do
    if records[i] and records[i][CHOSEN] == 1 and is_gone[ids[i]] then
      chosen[#chosen + 1] = ids[i]
    end
  end
  remember_ids(chosen, window)
  mark(group, 'acked', #done)
end
return { whole(now), announce_ended(group, ended), results, -1 }
