-- SCHEDULED, READY or BLOCKED -> removed, for copies of some events. Copies that are leased or dead stay.
--
-- KEYS     topic, every group
-- ARGV     1..5 as in common.lua
--   6      in every group (0, 1)
--   7      or in this one
--   8      the server's max_retries, for leases that have run out
--   9      the server's dedupe window, microseconds
--   10...  packed ids
-- returns  {now, {session, tokens, ...} of leases that have ended, '' or what is missing, how many events lost a copy,
--          {event of which a copy stays, ...}, {event that no group holds, ...}, {group, since when an event is due
--          there that was blocked, ...}}, events as places in the request, from 0
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
local window = setting('dedupe_window', ARGV[9])
local report = bring_up_to_date(groups, ARGV[8])

local cancelled, left_alone, unknown = 0, {}, {}
local waiting, is_chosen = {}, {} -- by group: {ids, {score, member, ...} by sorted set}; by id
for _, group in ipairs(groups) do
  waiting[group] = { {}, { waiting = {}, suspects = {}, prioritized = {}, upcoming = {}, blocked = {} } }
end

local function find(place, id)
  local blob = redis.call('HGET', topic_key('events'), id) or ''
  local is_whole = #blob >= HEADER_SIZE
  is_chosen[id] = is_whole and has_flag(blob, CHOSEN_ID)
  local waits, stays = false, false
  for _, group in ipairs(groups) do
    local name, member, score = find_copy(group, id, is_whole and place_of(blob) or '')
    if WAITS[name] then
      waits = true
      table.insert(waiting[group][1], id)
      table.insert(waiting[group][2][name], score)
      table.insert(waiting[group][2][name], member)
    elseif name then
      stays = true
    end
  end
  if waits then
    cancelled = cancelled + 1
  end
  if stays then
    left_alone[#left_alone + 1] = place
  elseif not waits then
    unknown[#unknown + 1] = place
  end
end

for i = 10, #ARGV do
  find(i - 10, ARGV[i])
end
local gone, chosen, freed = {}, {}, {}
for _, group in ipairs(groups) do
  local ids, scored = waiting[group][1], waiting[group][2]
  write_all('HDEL', group_key(group, 'records'), ids)
  for _, name in ipairs({ 'upcoming', 'blocked' }) do
    ordering().remove_behind(group, name, scored[name])
  end
  local soonest = NEVER
  for _, name in ipairs(WAITING_SETS) do
    local members = members_of(scored[name])
    remove_waiting(group, name, members)
    soonest = math.min(soonest, free_keys(group, members))
  end
  if soonest ~= NEVER then
    freed[#freed + 1], freed[#freed + 2] = group, whole(soonest)
  end
  drop_copies(ids, not is_ephemeral(group), gone)
end
for _, id in ipairs(gone) do
  if is_chosen[id] then
    chosen[#chosen + 1] = id
  end
end
write_all('HDEL', topic_key('events'), gone)
remember_ids(chosen, window)
return { whole(now), report, '', cancelled, left_alone, unknown, freed }
