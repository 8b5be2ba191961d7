-- Shared by the scripts that read records. Needs common.lua.

-- The record of an event that was never leased.
local function blank_record()
  return { 0, '', 0, 0, '', '', 0, 0, 0, '', 0, 0, 0, 0 }
end

-- Raises an error for bytes that are not a record, because its fields are used as numbers and texts without checks.
local function parse_record(raw)
  local record = cmsgpack.unpack(raw)
  local _ = record[ATTEMPT] + record[FENCE] + record[STARTED] + record[DELIVER_AT] + record[CHOSEN]
  _ = record[MAX_RETRIES] + record[IS_DEAD] + record[FREE] + record[STALLED]
  _ = record[SESSION] .. record[CONSUMER] .. record[PLACE] .. record[LAST_ERROR]
  return record
end

-- A record, or nil for bytes that are not one.
local function read_record(raw)
  local fine, record = pcall(parse_record, raw)
  return fine and record or nil
end

-- As FREE_EXPIRIES in domain/retry.py.
local FREE_EXPIRIES = 2

-- Whether so many leases of an event have run out that the next expiry uses up a retry. A session gets only one such
-- event at a time.
local function is_suspect(record)
  return record[FREE] >= FREE_EXPIRIES
end

-- The sets in which events wait that are READY, or will be without leaving them.
local WAITING_SETS = { 'waiting', 'suspects', 'prioritized' }

-- The one of these for an event that is no suspect.
local function waiting_set_of(member)
  return priority_of(member) ~= 0 and 'prioritized' or 'waiting'
end

-- Events on their way into these sets; what slots.lua does with the others.
local function new_queue()
  return { waiting = {}, suspects = {}, prioritized = {}, upcoming = {}, blocked = {}, gave_up = {} }
end

local function enqueue(queue, record, due, member)
  local scored = queue[is_suspect(record) and 'suspects' or waiting_set_of(member)]
  scored[#scored + 1] = whole(due)
  scored[#scored + 1] = member
end

-- The score in `ranked`. Those of READY events are negative and in the order in which they are leased; those of the
-- others are their due times.
local function ranked_score(member, due)
  return due > now and due or due - priority_of(member) * 1000000 - NEVER
end

-- Adds events with priorities, as {due, member, ...}.
local function add_prioritized(group, scored)
  local ranked = {}
  for i = 1, #scored, 2 do
    ranked[i], ranked[i + 1] = whole(ranked_score(scored[i + 1], tonumber(scored[i]))), scored[i + 1]
  end
  write_all('ZADD', group_key(group, 'ranked'), ranked)
  write_all('ZADD', group_key(group, 'prioritized'), scored)
  if #scored > 0 then
    open_gate(PRIORITIES)
  end
end

local function write_queue(group, queue)
  write_all('ZADD', group_key(group, 'waiting'), queue.waiting)
  write_all('ZADD', group_key(group, 'suspects'), queue.suspects)
  add_prioritized(group, queue.prioritized)
end

-- Removes events from one of these sets, or from another.
local function remove_waiting(group, name, members)
  write_all('ZREM', group_key(group, name), members)
  if name == 'prioritized' then
    write_all('ZREM', group_key(group, 'ranked'), members)
  end
end
