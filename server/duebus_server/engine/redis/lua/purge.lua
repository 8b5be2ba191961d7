-- DEAD -> removed, for dead letters of a group: one step.
--
-- KEYS     topic, group
-- ARGV     1..14 and 17... as in dead_letters.lua
--   15     the server's dedupe window, microseconds
--   16     not used
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, removed, when the first
--          step was made, more (0, 1), score and member of the last that was examined, group, when an event is due that
--          one of them held up, or -1}
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
local window = setting('dedupe_window', ARGV[15])
local report = bring_up_to_date({ group }, ARGV[13])
local began = tonumber(ARGV[8]) or now
local letters, last, more = step_through(group, began)
local freed_due = remove_dead(group, letters, window)
return { whole(now), report, '', #letters, whole(began), more, last[1], last[2], group, answer_time(freed_due) }
